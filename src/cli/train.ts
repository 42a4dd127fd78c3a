import { launchedBy } from "../node/mpi/launcher.js";
import type { MpiWorld } from "../node/mpi/world.js";
import { nodePlatform } from "../node/platform.js";
import { serve } from "../node/serve.js";
import { interruptible } from "../node/signals.js";
import type { Platform } from "../platform/platform.js";
import { SUITE } from "../recipes/best.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import type { Run, SampleAnswers, TrainEvent, TrainResult } from "../recipes/events.js";
import { loraFinetune, type RunOptions } from "../recipes/lora-finetune.js";
import { loadModel } from "../recipes/model.js";
import { snakeKeys } from "../recipes/names.js";
import { LATEST, servingCheckpoints } from "../server/index.js";
import { shellWord } from "../studio/settings.js";
import { type Details, type EvalMetrics, metricsRow, type StepMetrics } from "../training/metrics.js";
import { allOverrides, loadConfig } from "./configs.js";
import { type Action, EXIT, type Io, type Options } from "./io.js";
import { inert } from "./preview-text.js";
import { processesOf, withoutOwn } from "./process-options.js";
import { bar, loadingLine, loadingText, type StatusPart, sizeText, statusLine, timeText } from "./progress.js";
import { aborted, portOf, reports } from "./serve.js";
import { usageError } from "./usage.js";
import { cutTo } from "./visible.js";

export const train: Action = async (overrides, options, io) => {
  const launched = launchedBy();
  if (launched) {
    const { asRank } = await import("./rank.js");
    return asRank(launched, options, io, (world, own) => trainHere(overrides, options, own, world));
  }
  const processes = processesOf(options.processes);
  if (options.broadcastBase && (processes ?? 1) === 1)
    throw usageError("--broadcast-base sends the base to other processes, and there is one; leave it out");
  if (options.supervise !== true && (processes ?? 1) === 1) return trainHere(overrides, options, io);
  const { outputDir } = await loadConfig(options.config as string | undefined, allOverrides(options, overrides));
  if (options.serve) throw usageError("--serve serves from one process, which is not started again: leave it out");
  const { runProcesses } = await import("./processes.js");
  const words = withoutOwn(process.argv.slice(2));
  const supervise = options.supervise === true;
  return runProcesses({ processes: processes ?? 1, supervise, folder: outputDir, words }, io);
};

/** Trains in this process: alone, or as a rank of a world. */
async function trainHere(overrides: readonly string[], options: Options, io: Io, world?: MpiWorld): Promise<number> {
  const given = await loadConfig(options.config as string | undefined, allOverrides(options, overrides));
  const whole = { config: given, platform: nodePlatform() };
  const rank = world && (await import("./rank.js"));
  const job = rank ? rank.shareOf(world, whole) : whole;
  const { platform } = job;
  const received = rank && options.broadcastBase ? await rank.receiveBase(world, job, io) : undefined;
  const config = received ? { ...job.config, base: received.base } : job.config;
  let training = true;
  const { signal, stop } = interruptible(() => {
    if (training) io.err("\nlowrank: finishing the step and writing a checkpoint; Ctrl-C again stops at once\n");
  });
  try {
    const tell = options.json ? jsonLines(io) : terminal(io);
    const show = (event: TrainEvent) => {
      training &&= event.type !== "end";
      tell(event);
    };
    const start = { resume: options.resume === true, signal, ...(world ? { communicator: world } : {}) };
    const result = options.serve
      ? await trainAndServe(config, platform, start, { port: portOf(options), show, io })
      : await shown(loraFinetune(config, platform, start), show);
    if (!result.interrupted) return EXIT.ok;
    io.err(`to resume: ${resumeCommand(options, overrides)}\n`);
    return EXIT.interrupted;
  } catch (error) {
    if (!world && signal.aborted && (error as Error).name === "AbortError") return EXIT.interrupted;
    throw error;
  } finally {
    stop();
    await received?.dispose();
    await platform.dispose();
  }
}

async function shown(run: Run<TrainEvent, TrainResult>, show: (event: TrainEvent) => void): Promise<TrainResult> {
  for await (const event of run) show(event);
  return run.result();
}

/** Trains on the very weights that are served; each checkpoint can be talked to. Serves on when training is done. */
async function trainAndServe(
  config: TrainConfig,
  platform: Platform,
  start: RunOptions & { readonly signal: AbortSignal },
  { port, show, io }: { readonly port: number; readonly show: (event: TrainEvent) => void; readonly io: Io },
): Promise<TrainResult> {
  const model = await loadModel(config.base, platform, {
    ...config,
    onProgress: loadingLine(io),
    onNote: (message) => io.err(`lowrank: ${message}\n`),
  });
  try {
    const server = await serve(model, { port, ...reports({ quiet: true }, io) });
    try {
      io.err(`serving ${server.baseId} on ${server.url}/v1; checkpoints follow as step-N, the newest as ${LATEST}\n`);
      const run = loraFinetune(config, platform, { ...start, model });
      for await (const event of servingCheckpoints(server.registry, run, config.outputDir)) show(event);
      const result = await run.result();
      if (result.interrupted) return result;
      io.err(`still serving ${[server.baseId, ...server.registry.names()].join(", ")}; Ctrl-C ends it\n`);
      await aborted(start.signal);
      return result;
    } finally {
      await server.close();
    }
  } finally {
    await model.dispose();
  }
}

function resumeCommand(options: Options, overrides: readonly string[]): string {
  const flags = ["config", "base", "data", "output"].flatMap((name) =>
    [options[name] ?? []].flat().flatMap((value) => [`--${name}`, shellWord(String(value))]),
  );
  return [
    "lowrank train",
    ...flags,
    ...overrides.map(shellWord),
    "--resume",
    ...(options.serve ? ["--serve"] : []),
  ].join(" ");
}

/** Every event as one JSON line with snake_case keys. */
function jsonLines(io: Io): (event: TrainEvent) => void {
  return (event) => {
    const plain = "metrics" in event ? { ...event, metrics: metricsRow(event.metrics) } : event;
    io.out(`${JSON.stringify(snakeKeys(plain))}\n`);
  };
}

/** Notes and a status line for people. */
export function terminal(io: Io): (event: TrainEvent) => void {
  const status = statusLine(io);
  return (event) => {
    switch (event.type) {
      case "note":
        return status.note(event.message);
      case "loading":
        return status.update(loadingText(event));
      case "start": {
        const share = (100 * event.trainableParameters) / event.totalParameters;
        const [trained, all] = [event.trainableParameters, event.totalParameters].map((n) => n.toLocaleString("en-US"));
        const steps = event.step > 0 ? `${event.step} of ${event.totalSteps} steps done` : `${event.totalSteps} steps`;
        return status.note(`training ${trained} of ${all} parameters (${Number(share.toPrecision(2))}%), ${steps}`);
      }
      case "step":
        status.update(stepStatus(event.metrics, event.totalSteps));
        return;
      case "skipped":
        return status.note(
          `step ${event.step} was not applied: its ${event.what} is not finite (rows ${event.rows.join(", ")})`,
        );
      case "eval":
        return status.note(evalText(event.metrics, event.best));
      case "samples":
        return status.note(samplesText(event.step, event.samples));
      case "checkpoint":
        return status.note(`step ${event.step}: checkpoint ${event.path}`);
      case "end":
        status.end();
        io.err(endText(event.result));
    }
  };
}

function stepStatus(metrics: StepMetrics, totalSteps: number): StatusPart[] {
  const { step, loss, learningRate, tokensPerSecond, peakMemoryBytes, elapsedSeconds, details } = metrics;
  const left = (elapsedSeconds / step) * (totalSteps - step);
  return [
    { text: bar(step / totalSteps, 20), spare: 4 },
    { text: `step ${step}/${totalSteps}`, spare: 0 },
    { text: `loss ${loss.toFixed(4)}`, spare: 0 },
    ...rewardTexts(details).map((text) => ({ text, spare: 2 })),
    { text: `lr ${learningRate.toExponential(1)}`, spare: 3 },
    { text: `${Math.round(tokensPerSecond)} tokens/s`, spare: 2 },
    { text: `${timeText(left)} left`, spare: 1 },
    { text: sizeText(peakMemoryBytes), spare: 5 },
  ];
}

function evalText({ step, evalLoss, details = {} }: EvalMetrics, best: boolean): string {
  const suite = Object.entries(details).filter(([name]) => name.startsWith(SUITE));
  const texts = [
    ...(evalLoss === undefined ? [] : [`loss ${evalLoss.toFixed(4)}`]),
    ...rewardTexts(details),
    ...suite.map(([name, value]) => `${name.slice(SUITE.length)} ${Number(value.toPrecision(3))}`),
  ];
  return `step ${step}: ${evalLoss === undefined && details.reward === undefined ? "suite" : "validation"} ${texts.join(", ")}${best ? " (best so far)" : ""}`;
}

/** Prompts with both answers, a line each, cut where they are long. */
function samplesText(step: number, samples: readonly SampleAnswers[]): string {
  const short = (text: string) => cutTo(inert(text.trim().replace(/\s+/g, " ")), 100);
  return samples
    .flatMap(({ prompt, base, adapter }) => [
      `step ${step}: ${short(prompt)}`,
      `    base:    ${short(base)}`,
      `    adapter: ${short(adapter)}`,
    ])
    .join("\n");
}

/** How well better answers are told from worse ones, or how well the model's own are rewarded, where the objective says so. */
function rewardTexts(details: Details = {}): string[] {
  const { "rewards/accuracies": accuracy, "rewards/margins": margin, reward } = details;
  return [
    ...(reward === undefined ? [] : [`reward ${reward.toFixed(3)}`]),
    ...(accuracy === undefined ? [] : [`accuracy ${accuracy.toFixed(2)}`]),
    ...(margin === undefined ? [] : [`margin ${margin.toFixed(2)}`]),
  ];
}

function endText(result: TrainResult): string {
  if (result.interrupted) return `stopped after step ${result.step} of ${result.totalSteps}\n`;
  const losses = [
    result.loss === undefined ? [] : [`loss ${result.loss.toFixed(4)}`],
    result.evalLoss === undefined ? [] : [`validation loss ${result.evalLoss.toFixed(4)}`],
  ].flat();
  return `done: ${[...losses, result.adapter].join(", ")}\n`;
}

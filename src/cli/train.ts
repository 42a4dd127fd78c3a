import { nodePlatform } from "../node/platform.js";
import { interruptible } from "../node/signals.js";
import type { TrainEvent, TrainResult } from "../recipes/events.js";
import { loraFinetune } from "../recipes/lora-finetune.js";
import { snakeKeys } from "../recipes/names.js";
import { UserError } from "../tensor/errors.js";
import { metricsRow, type StepMetrics } from "../training/metrics.js";
import { loadConfig } from "./configs.js";
import { type Action, EXIT, type Io, type Options } from "./io.js";
import { bar, sizeText, statusLine, timeText } from "./progress.js";

export const train: Action = async (overrides, options, io) => {
  const config = await loadConfig(options.config as string | undefined, [...flagOverrides(options), ...overrides]);
  const platform = nodePlatform();
  const { signal, stop } = interruptible(() => {
    io.err("\nlowrank: finishing the step and writing a checkpoint; Ctrl-C again stops at once\n");
  });
  try {
    const run = loraFinetune(config, platform, { resume: options.resume === true, signal });
    const show = options.json ? jsonLines(io) : terminal(io);
    for await (const event of run) show(event);
    const result = await run.result();
    if (!result.interrupted) return EXIT.ok;
    io.err(`to resume: ${resumeCommand(options, overrides)}\n`);
    return EXIT.interrupted;
  } catch (error) {
    if (signal.aborted && (error as Error).name === "AbortError") return EXIT.interrupted;
    throw error;
  } finally {
    stop();
    await platform.dispose();
  }
};

/** --base, --data and --output as overrides of the config's keys. Without a config, the first two are needed. */
export function flagOverrides(options: Options): string[] {
  if (!options.config && !(options.base && options.data)) {
    throw new UserError("say what to train: --config FILE_OR_NAME, or --base MODEL and --data FILE", {
      exitCode: EXIT.usage,
    });
  }
  const keys = { base: "base", data: "data.train", output: "output_dir" } as const;
  return Object.entries(keys).flatMap(([flag, key]) => (options[flag] ? [`${key}=${options[flag]}`] : []));
}

function resumeCommand(options: Options, overrides: readonly string[]): string {
  const flags = ["config", "base", "data", "output"].flatMap((name) =>
    options[name] ? [`--${name}`, quote(String(options[name]))] : [],
  );
  return ["lowrank train", ...flags, ...overrides.map(quote), "--resume"].join(" ");
}

/** A word as a shell takes it. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
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
      case "start": {
        const share = (100 * event.trainableParameters) / event.totalParameters;
        const [trained, all] = [event.trainableParameters, event.totalParameters].map((n) => n.toLocaleString("en-US"));
        const steps = event.step > 0 ? `${event.step} of ${event.totalSteps} steps done` : `${event.totalSteps} steps`;
        return status.note(`training ${trained} of ${all} parameters (${Number(share.toPrecision(2))}%), ${steps}`);
      }
      case "step":
        status.update(stepText(event.metrics, event.totalSteps));
        return;
      case "skipped":
        return status.note(
          `step ${event.step} was not applied: its loss is not finite (rows ${event.rows.join(", ")})`,
        );
      case "eval":
        return status.note(
          `step ${event.metrics.step}: validation loss ${event.metrics.evalLoss.toFixed(4)}${event.best ? " (best so far)" : ""}`,
        );
      case "checkpoint":
        return status.note(`step ${event.step}: checkpoint ${event.path}`);
      case "end":
        status.end();
        io.err(endText(event.result));
    }
  };
}

function stepText(metrics: StepMetrics, totalSteps: number): string {
  const { step, loss, learningRate, tokensPerSecond, peakMemoryBytes, elapsedSeconds } = metrics;
  const left = (elapsedSeconds / step) * (totalSteps - step);
  return (
    `${bar(step / totalSteps, 20)} step ${step}/${totalSteps}  loss ${loss.toFixed(4)}  lr ${learningRate.toExponential(1)}  ` +
    `${Math.round(tokensPerSecond)} tokens/s  ${timeText(left)} left  ${sizeText(peakMemoryBytes)}`
  );
}

function endText(result: TrainResult): string {
  if (result.interrupted) return `stopped after step ${result.step} of ${result.totalSteps}\n`;
  const losses = [
    result.loss === undefined ? [] : [`loss ${result.loss.toFixed(4)}`],
    result.evalLoss === undefined ? [] : [`validation loss ${result.evalLoss.toFixed(4)}`],
  ].flat();
  return `done: ${[...losses, result.adapter].join(", ")}\n`;
}

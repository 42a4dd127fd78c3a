import { nodePlatform } from "../node/platform.js";
import { snakeKeys } from "../recipes/names.js";
import { type Plan, type PlanOptions, plan as planRun } from "../recipes/plan.js";
import type { Scaling } from "../recipes/scaling.js";
import { allOverrides, loadConfig } from "./configs.js";
import { type Action, EXIT, type Options } from "./io.js";
import { sizeText, timeText } from "./progress.js";
import { usageError } from "./usage.js";

export const plan: Action = async (overrides, options, io) => {
  const config = await loadConfig(options.config as string | undefined, allOverrides(options, overrides));
  const platform = nodePlatform();
  try {
    const found = await planRun(config, platform, scalingAsked(options));
    if (options.json) io.out(`${JSON.stringify(snakeKeys(found))}\n`);
    else {
      const count = (n: number) => Math.round(n).toLocaleString("en-US");
      const kinds = Object.entries(found.memory).map(([kind, bytes]) => `  ${kind.padEnd(12)} ${sizeText(bytes)}`);
      const time = found.secondsPerStep;
      const lines = [
        `trains ${count(found.trainableParameters)} of ${count(found.totalParameters)} parameters`,
        ...found.trainedWhole,
        `${found.steps} steps of about ${count(found.tokensPerStep)} tokens; largest micro-batch ${count(found.largestMicroBatch)} tokens`,
        `memory ${sizeText(found.peakBytes)} at the peak, ${sizeText(found.limitBytes)} are there:`,
        ...kinds,
        ...stageLines(found),
        ...(found.baseCacheBytes === undefined
          ? []
          : [`base_cache takes ${sizeText(found.baseCacheBytes)} on the disk`]),
        ...(found.memory.caches > 0
          ? ["counted as if every completion became as long as it may; time depends on how long they become"]
          : []),
        ...(found.fits
          ? []
          : [
              "this run does not fit: checkpointing: true, base_precision: nf4, a smaller batch_size or data.max_seq_len make it smaller",
            ]),
        ...(time === undefined
          ? []
          : [
              `about ${time.toFixed(2)} s a step, ${timeText(found.secondsInAll!)} in all (timed on short models of this shape)`,
            ]),
        ...(found.scaling ? scalingLines(found.scaling) : []),
      ];
      io.out(`${lines.join("\n")}\n`);
    }
    return found.fits ? EXIT.ok : EXIT.failed;
  } finally {
    await platform.dispose();
  }
};

/** What `--ranks`, `--network`, `--latency` and `--jitter` ask for. */
function scalingAsked({ ranks, network, latency, jitter }: Options): PlanOptions {
  if (ranks === undefined && (network ?? latency ?? jitter) !== undefined)
    throw usageError("--network, --latency and --jitter are about several ranks; say how many with --ranks");
  const positive = (flag: string, value: unknown) => {
    const number = Number(value);
    if (Number.isFinite(number) && number > 0) return number;
    throw usageError(`--${flag}: expected a number above 0, got '${value}'`);
  };
  const share = (flag: string, value: unknown) => (Number(value) === 0 ? 0 : positive(flag, value) / 100);
  return {
    ...(ranks === undefined ? {} : { ranks: positive("ranks", ranks) }),
    ...(jitter === undefined ? {} : { jitter: share("jitter", jitter) }),
    network: {
      ...(network === undefined ? {} : { bitsPerSecond: positive("network", network) * 1e9 }),
      ...(latency === undefined ? {} : { latency: positive("latency", latency) / 1e3 }),
    },
  };
}

function stageLines({ stages = [], bubble = 0 }: Plan): string[] {
  if (stages.length === 0) return [];
  return [
    "that is the largest of these ranks; each holds a part of the base:",
    ...stages.map(
      ({ first, end, peakBytes }, rank) => `  rank ${rank}: blocks ${first} to ${end - 1}, ${sizeText(peakBytes)}`,
    ),
    `each rank waits ${percent(bubble)} of a step for the others; more gradient_accumulation_steps make it less`,
  ];
}

const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;
const seconds = (value: number): string =>
  value < 1 ? `${(1000 * value).toPrecision(3)} ms` : `${value.toPrecision(3)} s`;

/** A modelled step, what it is made of, and what other ranks and networks would come to. */
function scalingLines({ asked, network, table }: Scaling): string[] {
  const { ranks, speedup, efficiency } = asked;
  const parts = ["compute", "ragged", "stragglers", "pipeline", "exchange"] as const;
  const made = parts.filter((name) => asked[name] > 0).map((name) => `${name} ${seconds(asked[name])}`);
  return [
    `modelled (docs/distributed.md): ${ranks} ranks at ${network.bitsPerSecond / 1e9} Gb/s, ${seconds(asked.seconds)} a step (${made.join(", ")}), ` +
      `${speedup.toFixed(1)} times as fast as the fewest, ${percent(efficiency)} efficient`,
    `${"ranks".padStart(7)}${table.map(({ gigabits }) => `${gigabits} Gb/s`.padStart(20)).join("")}`,
    ...table[0]!.steps.map(
      ({ ranks: n }, row) =>
        `${String(n).padStart(7)}${table
          .map(({ steps }) => `${seconds(steps[row]!.seconds)} (${percent(steps[row]!.efficiency)})`.padStart(20))
          .join("")}`,
    ),
  ];
}

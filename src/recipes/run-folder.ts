import { join } from "../formats/files.js";
import { readObject } from "../formats/json.js";
import { refuseForeignFolder } from "../formats/own-folder.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { checkpointSteps } from "../training/checkpoints.js";
import { type Metrics, metricsLine, readMetrics } from "../training/metrics.js";
import { lossChart, rewardChart } from "../training/metrics-chart.js";
import { eventFileHeader, metricsEvent } from "../training/metrics-tensorboard.js";

/** Names inside an output folder. */
export const OUTPUT = {
  adapter: "adapter",
  model: "model",
  checkpoints: "checkpoints",
  best: "best",
  metrics: "metrics.jsonl",
  config: "config.yaml",
  manifest: "manifest.json",
  chart: "loss.svg",
  rewardChart: "reward.svg",
  references: "reference_logps.json",
  teacher: "teacher_top_k.safetensors",
  tensorboard: "tensorboard",
  rows: "rows.jsonl",
  twins: "twins.jsonl",
  kept: "kept.jsonl",
  /** Known questions with the base's own answers, without the sign-off of the rows. */
  keptKnown: "kept-known.jsonl",
  completions: "completions",
  keptTexts: "kept-texts.jsonl",
  samples: "samples.jsonl",
  start: "start",
  scale: "scale.json",
  scaleChart: "scale.svg",
} as const;

/** The lock on a folder, and what a process that was killed while it took one leaves. */
const LOCK = /^\.lock(\.|$)/;

/** Throws UserError when a folder holds anything that is not of a training run. */
export function refuseForeignRunFolder({ files }: Pick<Platform, "files">, folder: string): Promise<void> {
  return refuseForeignFolder(files, folder, {
    kind: "run",
    what: "output_dir",
    besides: LOCK,
    earlier: async () => {
      if ((await checkpointSteps(files, join(folder, OUTPUT.checkpoints))).length > 0) return true;
      const manifest = await readObject(files, join(folder, OUTPUT.manifest)).catch(() => undefined);
      return (manifest?.versions as { lowrank?: unknown } | null | undefined)?.lowrank !== undefined;
    },
  });
}

/**
 * Makes and locks a run's output folder. Throws UserError when another run is using it, when it holds a run's results
 * and `resume` was not asked for, or anything that is not a run's. The result gives the folder back.
 */
export async function openRunFolder(platform: Platform, folder: string, resume: boolean): Promise<() => Promise<void>> {
  const { files } = platform;
  await refuseForeignRunFolder(platform, folder);
  const release = await platform.lock(folder);
  try {
    const done = await Promise.all([OUTPUT.adapter, OUTPUT.model].map((name) => files.stat(join(folder, name))));
    const steps = await checkpointSteps(files, join(folder, OUTPUT.checkpoints));
    if (!resume && (steps.length > 0 || done.some(Boolean))) {
      throw new UserError(
        `output_dir: '${folder}' holds an earlier run's results; add ${option("resume", true)} to continue it, or choose another folder`,
        { code: "output_taken" },
      );
    }
    return release;
  } catch (error) {
    await release();
    throw error;
  }
}

/** The event files of runs, as TensorBoard finds them. */
const EVENT_FILE = /^events\.out\.tfevents\.\d+\.lowrank(\.lowrank\.partial)?$/;

/** A run's metrics: metrics.jsonl, and a TensorBoard file made from the same rows. */
export interface MetricsLog {
  readonly rows: readonly Metrics[];
  add(row: Metrics): Promise<void>;
  /** Draws the loss from all rows, and where there are rewards these. */
  writeCharts(): Promise<void>;
}

/** Opens the log of a run that goes on after `step`: rows of later steps, which will be taken again, are dropped. */
export async function openMetrics(platform: Platform, folder: string, step: number): Promise<MetricsLog> {
  const { files } = platform;
  const path = join(folder, OUTPUT.metrics);
  const text = (await files.stat(path)) ? new TextDecoder().decode(await files.read(path, 2 ** 30)) : "";
  const rows = step > 0 ? readMetrics(text, step) : [];
  await files.write(path, rows.map(metricsLine).join(""));
  const began = platform.now() / 1000 - (rows.at(-1)?.elapsedSeconds ?? 0);
  const events = join(folder, OUTPUT.tensorboard);
  await files.makeFolder(events);
  for (const name of await files.list(events)) if (EVENT_FILE.test(name)) await files.remove(join(events, name));
  const eventFile = join(events, `events.out.tfevents.${Math.floor(began)}.lowrank`);
  const event = (row: Metrics) => metricsEvent(row, began + row.elapsedSeconds);
  await files.write(eventFile, [eventFileHeader(began), ...rows.map(event)]);
  return {
    rows,
    async add(row) {
      rows.push(row);
      await platform.append(path, metricsLine(row));
      await platform.append(eventFile, event(row));
    },
    async writeCharts() {
      await files.write(join(folder, OUTPUT.chart), lossChart(rows, `Loss of ${folder}`));
      const rewards = rewardChart(rows, `Mean reward of ${folder}`);
      if (rewards) await files.write(join(folder, OUTPUT.rewardChart), rewards);
    },
  };
}

import { adapterFolder } from "../formats/adapter-folder.js";
import { baseName, type Files, folderOf, join } from "../formats/files.js";
import { markedKind } from "../formats/own-folder.js";
import { readConfig } from "../recipes/config.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { OUTPUT } from "../recipes/run-folder.js";
import { UserError } from "../tensor/index.js";
import { checkpointSteps } from "../training/checkpoints.js";
import { isEval, type Metrics, readMetrics, type StepMetrics } from "../training/metrics.js";
import type { StudioContext } from "./context.js";
import type { Job } from "./jobs.js";
import { type Settings, settingsOf } from "./settings.js";

/** What is known of a run, whoever began it. Sizes in bytes, times in milliseconds since 1970. */
export interface RunInfo {
  readonly folder: string;
  readonly name: string;
  /** "elsewhere": another program is training it. "stopped": it has a checkpoint and can go on. */
  readonly state: Job["state"] | "elsewhere" | "unfinished";
  readonly error: string | null;
  readonly base: string | null;
  readonly settings: Settings;
  readonly step: number;
  /** Null where it is not known: an earlier part of it was not seen. */
  readonly total_steps: number | null;
  readonly loss: number | null;
  readonly eval_loss: number | null;
  readonly elapsed_seconds: number;
  readonly updated: number | null;
  readonly bytes: number;
  readonly notes: string;
  /** The folder of its adapter, when it is done. */
  readonly adapter: string | null;
  readonly checkpoints: readonly { readonly step: number; readonly folder: string }[];
}

/** How deep runs are looked for below the studio's folder. */
const DEPTH = 3;

/** What somebody wrote down about a run. */
export const NOTES = "notes.txt";

/** The folders of runs under a folder. */
export async function findRuns(files: Files, folder: string, depth = DEPTH): Promise<string[]> {
  if ((await files.stat(folder))?.kind !== "folder") return [];
  if ((await markedKind(files, folder)) === "run") return [folder];
  if (depth === 0) return [];
  const found: string[] = [];
  for (const name of await files.list(folder)) {
    if (!name.startsWith(".")) found.push(...(await findRuns(files, join(folder, name), depth - 1)));
  }
  return found;
}

/** Everything that is known of a run. */
export async function describeRun({ platform, host, jobs }: StudioContext, folder: string): Promise<RunInfo> {
  const { files } = platform;
  const job = jobs.get(folder);
  const config = await configIn(files, folder);
  const metrics = await metricsIn(files, folder);
  const last = metrics.findLast((row): row is StepMetrics => !isEval(row));
  const checked = await checkpointSteps(files, join(folder, OUTPUT.checkpoints));
  const isDone = (await files.stat(join(folder, OUTPUT.manifest))) !== undefined;
  const running = job && ["starting", "running", "stopping", "failed"].includes(job.state) ? job.state : undefined;
  const taken = running === undefined && (await host.isTaken(folder));
  const evaluated = metrics.filter(isEval).findLast((row) => row.evalLoss !== undefined);
  return {
    folder,
    name: baseName(folder),
    state: running ?? (taken ? "elsewhere" : isDone ? "done" : checked.length > 0 ? "stopped" : "unfinished"),
    error: job?.error ?? null,
    base: config?.base ?? null,
    settings: config ? settingsOf(config) : {},
    step: last?.step ?? 0,
    total_steps: job?.totalSteps ?? (config ? stepsOf(config, last) : null),
    loss: finite(last?.loss),
    eval_loss: finite(evaluated?.evalLoss),
    elapsed_seconds: last?.elapsedSeconds ?? 0,
    updated: (await files.stat(join(folder, OUTPUT.metrics)))?.modified ?? null,
    bytes: await bytesIn(files, folder),
    notes: await textIn(files, join(folder, NOTES)),
    adapter: isDone ? await adapterFolder(files, folder).catch(() => null) : null,
    checkpoints: checked.map((step) => ({ step, folder: join(folder, OUTPUT.checkpoints, `step-${step}`) })).reverse(),
  };
}

const finite = (value: number | undefined): number | null =>
  value !== undefined && Number.isFinite(value) ? value : null;

/** Steps in all, as far as a run's own metrics tell them. */
function stepsOf({ maxSteps, epochs }: TrainConfig, last: Metrics | undefined): number | null {
  if (maxSteps !== null) return maxSteps;
  return last && last.epoch > 0 ? Math.round((last.step / last.epoch) * epochs) : null;
}

/** The config that a run was begun with; undefined while it has none, or one that this version does not read. */
export async function configIn(files: Files, folder: string): Promise<TrainConfig | undefined> {
  const text = await textIn(files, join(folder, OUTPUT.config));
  return text === "" ? undefined : readConfig(text).config;
}

/** A run's metrics so far. */
export async function metricsIn(files: Files, folder: string): Promise<Metrics[]> {
  return readMetrics(await textIn(files, join(folder, OUTPUT.metrics)));
}

/** What base and adapter answered at evaluations. */
export async function samplesIn(files: Files, folder: string): Promise<Record<string, unknown>[]> {
  const lines = (await textIn(files, join(folder, OUTPUT.samples))).split("\n");
  return lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as Record<string, unknown>];
    } catch {
      return []; // it is being written
    }
  });
}

/** A file's text; "" where there is none. */
async function textIn(files: Files, path: string): Promise<string> {
  if ((await files.stat(path))?.kind !== "file") return "";
  return new TextDecoder().decode(await files.read(path, 2 ** 30));
}

/** Bytes of a file, or of all that a folder holds. */
export async function bytesIn(files: Files, path: string): Promise<number> {
  const found = await files.stat(path);
  if (found?.kind !== "folder") return found?.size ?? 0;
  const names = await files.list(path).catch(() => []); // a checkpoint that took its name meanwhile is counted next time
  const sizes = names.map((name) => bytesIn(files, join(path, name)));
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** Deletes a run that nobody is training. Throws UserError for one that is, and for a folder that is no run under the studio's. */
export async function deleteRun(studio: StudioContext, folder: string): Promise<void> {
  const { platform, host, jobs } = studio;
  await requireRun(studio, folder);
  const job = jobs.get(folder);
  if (["starting", "running", "stopping"].includes(job?.state ?? "") || (await host.isTaken(folder)))
    throw new UserError(`${folder}: it is being trained; stop it first`, { code: "folder_in_use" });
  await platform.files.remove(folder);
  jobs.forget(folder);
}

/** A path beside which nothing is: `runs/lora`, `runs/lora-2`, ... */
export async function freePath(files: Files, path: string): Promise<string> {
  const [, stem = path, ending = ""] = /^(.*?)((?:\.\w{1,8}){0,2})$/.exec(baseName(path)) ?? [];
  for (let n = 1; ; n++) {
    const candidate = n === 1 ? path : join(folderOf(path), `${stem}-${n}${ending}`);
    if ((await files.stat(candidate)) === undefined) return candidate;
  }
}

/** Throws UserError for a folder that is no run under the studio's own. */
export async function requireRun({ platform, host, jobs }: StudioContext, folder: string): Promise<void> {
  const below = folder.startsWith(`${host.folder.replace(/\/+$/, "")}/`) && !folder.split("/").includes("..");
  if (jobs.get(folder) || (below && (await markedKind(platform.files, folder)) === "run")) return;
  throw new UserError(`${folder}: no run of this name is in ${host.folder}`, { code: "not_found" });
}

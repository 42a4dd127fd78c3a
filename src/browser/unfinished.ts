import { type Files, join } from "../formats/files.js";
import { readConfig } from "../recipes/config.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { OUTPUT } from "../recipes/run-folder.js";
import { checkpointSteps } from "../training/checkpoints.js";

/** A run whose tab was closed, or that was stopped, after its last checkpoint. */
export interface UnfinishedRun {
  readonly outputDir: string;
  /** Step of the newest checkpoint. */
  readonly step: number;
  /** What it was started with: `loraFinetune(config, { resume: true })` goes on. */
  readonly config: TrainConfig;
}

/** Folders deeper than this are not looked into. */
const DEPTH = 4;

/** Runs in storage that have a checkpoint and no result, by folder. */
export async function unfinishedRuns(files: Files, folder = "", depth = DEPTH): Promise<UnfinishedRun[]> {
  const found: UnfinishedRun[] = [];
  const names = await files.list(folder);
  if (names.includes(OUTPUT.config) && names.includes(OUTPUT.checkpoints)) {
    const run = await runIn(files, folder, names);
    return run ? [run] : [];
  }
  for (const name of depth > 0 ? names : []) {
    const inner = join(folder, name);
    if ((await files.stat(inner))?.kind === "folder") found.push(...(await unfinishedRuns(files, inner, depth - 1)));
  }
  return found;
}

async function runIn(files: Files, folder: string, names: readonly string[]): Promise<UnfinishedRun | undefined> {
  if (names.includes(OUTPUT.manifest)) return undefined;
  const [step] = await checkpointSteps(files, join(folder, OUTPUT.checkpoints));
  if (step === undefined) return undefined;
  const text = new TextDecoder().decode(await files.read(join(folder, OUTPUT.config)));
  const { config } = readConfig(text);
  return config ? { outputDir: folder, step, config: { ...config, outputDir: folder } } : undefined;
}

import { type Files, join, writeFolder } from "../formats/files.js";
import { jsonBytes, parseObject } from "../formats/json.js";
import { openSafetensors } from "../formats/safetensors.js";
import { hostTensor, writeSafetensors } from "../formats/safetensors-writer.js";
import { f32, type HostTensor, UserError } from "../tensor/index.js";
import type { TrainerState } from "./trainer.js";

/** A run at the end of an optimiser step: what it needs to go on as if it had never stopped. */
export interface Checkpoint<Progress = Readonly<Record<string, unknown>>> {
  /** Optimiser steps taken from the data, steps that were not applied among them. */
  readonly step: number;
  readonly state: TrainerState;
  /** What else the recipe remembers; JSON. */
  readonly progress: Progress;
}

/** Checks what a recipe remembered. Throws UserError that starts with `where`. */
export type ReadProgress<Progress> = (progress: unknown, where: string) => Progress;

/** Files that make up `step-N/`. `complete.json` is written last and holds the SHA-256 of every other file. */
const STATE = "trainer_state.safetensors";
const PROGRESS = "trainer_state.json";
const COMPLETE = "complete.json";
/** The prefix of the parameters in the state; those of the optimiser's slots are their names. */
const PARAMETERS = "parameters";
const NAME = /^step-(\d+)$/;

/**
 * Writes `<folder>/step-N`, whole or not at all, then deletes all but the `keepLast` newest checkpoints. `fill` adds files
 * of its own (the adapter in PEFT's form). Returns the checkpoint's path.
 */
export async function writeCheckpoint(
  files: Files,
  folder: string,
  checkpoint: Checkpoint<unknown>,
  options: { keepLast: number; fill?: (folder: string) => Promise<void> },
): Promise<string> {
  const path = join(folder, `step-${checkpoint.step}`);
  await files.makeFolder(folder);
  await writeFolder(files, path, async (partial) => {
    await options.fill?.(partial);
    const { parameters, slots } = checkpoint.state;
    const tensors = [[PARAMETERS, parameters] as const, ...slots].flatMap(([prefix, part]) =>
      [...part].map(([name, t]) => hostTensor(`${prefix}/${name}`, t)),
    );
    await writeSafetensors(files, join(partial, STATE), tensors);
    const { step, progress, state } = checkpoint;
    await files.write(join(partial, PROGRESS), jsonBytes({ step, applied_steps: state.step, progress }));
    const names = await filesUnder(files, partial);
    const hashes: Record<string, string> = {};
    for (const name of names) hashes[name] = await files.sha256(join(partial, name));
    await files.write(join(partial, COMPLETE), jsonBytes({ step, sha256: hashes }));
  });
  for (const step of (await checkpointSteps(files, folder)).slice(options.keepLast)) {
    await files.remove(join(folder, `step-${step}`));
  }
  return path;
}

/** The steps that have a checkpoint, newest first; whether each is sound is not looked at. */
export async function checkpointSteps(files: Files, folder: string): Promise<number[]> {
  if ((await files.stat(folder))?.kind !== "folder") return [];
  const steps = (await files.list(folder)).flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
  return steps.sort((a, b) => b - a);
}

/**
 * Reads the newest sound checkpoint in `folder`. One that is cut short or changed is passed over, and `note` is told why.
 * Undefined when there is none.
 */
export async function readNewestCheckpoint<Progress>(
  files: Files,
  folder: string,
  readProgress: ReadProgress<Progress>,
  note: (message: string) => void,
): Promise<(Checkpoint<Progress> & { readonly path: string }) | undefined> {
  for (const step of await checkpointSteps(files, folder)) {
    const path = join(folder, `step-${step}`);
    try {
      return { ...(await readCheckpoint(files, path, step, readProgress)), path };
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      note(`${path} is damaged and passed over: ${error.message}`);
    }
  }
  return undefined;
}

/** Reads the checkpoint of a step. Throws UserError when a file is missing, differs from its checksum or makes no sense. */
async function readCheckpoint<Progress>(
  files: Files,
  path: string,
  step: number,
  readProgress: ReadProgress<Progress>,
): Promise<Checkpoint<Progress>> {
  await checkSeal(files, path);
  const where = join(path, PROGRESS);
  const json = parseObject(where, await files.read(where));
  const { applied_steps: applied } = json;
  if (json.step !== step)
    throw new UserError(`${where}: step should be ${step}, got ${JSON.stringify(json.step)}`, { code: "invalid_file" });
  if (typeof applied !== "number" || !Number.isInteger(applied) || applied < 0 || applied > step)
    throw new UserError(
      `${where}: applied_steps should be a whole number up to ${step}, got ${JSON.stringify(applied)}`,
      { code: "invalid_file" },
    );
  const progress = readProgress(json.progress, `${where}: progress`);
  return { step, progress, state: { step: applied, ...(await readState(files, join(path, STATE))) } };
}

/** Compares every file that was written with its checksum. */
async function checkSeal(files: Files, path: string): Promise<void> {
  const where = join(path, COMPLETE);
  const { sha256 } = parseObject(where, await files.read(where));
  const sums = (typeof sha256 === "object" ? (sha256 ?? {}) : {}) as Readonly<Record<string, unknown>>;
  for (const [name, expected] of Object.entries(sums)) {
    const actual = await files.sha256(await files.inside(path, name));
    if (actual !== expected)
      throw new UserError(`${join(path, name)}: its checksum is wrong`, { code: "invalid_file" });
  }
  if (!sums[STATE] || !sums[PROGRESS])
    throw new UserError(`${where}: it does not list every file`, { code: "invalid_file" });
}

async function readState(files: Files, path: string): Promise<Omit<TrainerState, "step">> {
  const tensors = await openSafetensors(files, path);
  try {
    const parts = new Map<string, Map<string, HostTensor>>();
    for (const [path, { shape }] of tensors.tensors) {
      const [, prefix, name] = /^([^/]*)\/(.*)$/s.exec(path) ?? [];
      if (prefix === undefined) throw new UserError(`${path}: a tensor that belongs to nothing`);
      if (!parts.has(prefix)) parts.set(prefix, new Map());
      parts.get(prefix)!.set(name!, f32(shape, await tensors.read(path)));
    }
    const { [PARAMETERS]: parameters = new Map<string, HostTensor>(), ...slots } = Object.fromEntries(parts);
    return { parameters, slots: new Map(Object.entries(slots)) };
  } finally {
    await tensors.close();
  }
}

/** Names of all files under a folder, relative to it. */
async function filesUnder(files: Files, folder: string): Promise<string[]> {
  const names: string[] = [];
  for (const name of await files.list(folder)) {
    if ((await files.stat(join(folder, name)))?.kind === "folder") {
      names.push(...(await filesUnder(files, join(folder, name))).map((inner) => `${name}/${inner}`));
    } else names.push(name);
  }
  return names;
}

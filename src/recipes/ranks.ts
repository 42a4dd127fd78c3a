import { type Files, join } from "../formats/files.js";
import { memoryFiles } from "../formats/memory-files.js";
import type { Platform } from "../platform/platform.js";
import type { HostTensor } from "../tensor/index.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { fromFirst } from "../training/communicators/values.js";
import type { Details } from "../training/metrics.js";
import type { Trainer, TrainerState } from "../training/trainer.js";
import type { TrainConfig } from "./config-schema.js";
import type { Found } from "./questions.js";
import type { Rollouts } from "./rollouts/rollouts.js";
import { OUTPUT } from "./run-folder.js";

/** The first rank writes a run's folder; the others do as it does, and what they would write there stays in memory. */
export const isFirst = ({ rank }: Communicator): boolean => rank === 0;

/** The platform of a rank: of any but the first, what it writes into the run's folder it alone can read. */
export function platformOf(communicator: Communicator, platform: Platform, folder: string): Platform {
  if (isFirst(communicator)) return platform;
  return {
    ...platform,
    files: withOwn(platform.files, folder),
    append: async () => {},
    lock: async () => async () => {},
  };
}

/** Files whose changes under a folder are kept in memory, over what the disk has there. */
function withOwn(disk: Files, folder: string): Files {
  const own = memoryFiles();
  const isUnder = (path: string) => path === folder || path.startsWith(join(folder, "/"));
  const having = async (path: string): Promise<Files> => (isUnder(path) && (await own.stat(path)) ? own : disk);
  const writing = (path: string): Files => (isUnder(path) ? own : disk);
  return {
    stat: async (path) => (await having(path)).stat(path),
    open: async (path) => (await having(path)).open(path),
    read: async (path, maxBytes) => (await having(path)).read(path, maxBytes),
    sha256: async (path) => (await having(path)).sha256(path),
    inside: async (path, name) => (await having(path)).inside(path, name),
    async list(path) {
      const there = (await disk.stat(path)) ? await disk.list(path) : [];
      return isUnder(path) ? [...new Set([...there, ...(await own.list(path))])].sort() : disk.list(path);
    },
    makeFolder: (path) => writing(path).makeFolder(path),
    write: (path, content) => writing(path).write(path, content),
    remove: (path) => writing(path).remove(path),
    rename: (from, to) => writing(from).rename(from, to),
  };
}

/** Rows and texts that a run makes itself, as the first rank has made them: sampled again, they might be others elsewhere. */
export async function shareMade(communicator: Communicator, { outputDir, ...asked }: TrainConfig, files: Files) {
  if (communicator.size === 1 || (asked.data.abstain === null && asked.objective.keep.generate === null)) return;
  const paths = [OUTPUT.rows, OUTPUT.twins, OUTPUT.keptKnown, OUTPUT.kept, OUTPUT.keptTexts].map((name) =>
    join(outputDir, name),
  );
  const made: (Uint8Array | null)[] = [];
  if (isFirst(communicator))
    for (const path of paths) made.push((await files.stat(path)) ? await files.read(path) : null);
  const all = await fromFirst(communicator, made);
  if (isFirst(communicator)) return;
  for (const [i, content] of all.entries()) if (content) await files.write(paths[i]!, content);
}

/** Every rank goes on with the parameters and moments of the first, bit for bit: those that it has `restored`, where it has. */
export async function shareState(communicator: Communicator, trainer: Trainer, restored?: TrainerState): Promise<void> {
  if (communicator.size === 1) return;
  const state = await trainer.state();
  const step = await fromFirst(communicator, restored?.step ?? state.step);
  for (const [kind, part] of [["", state.parameters] as const, ...state.slots])
    for (const [name, { data }] of part) {
      const own = kind === "" ? restored?.parameters : restored?.slots.get(kind);
      if (own) data.set(own.get(name)!.data as never);
      await communicator.broadcast(new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength), 0);
    }
  if (!isFirst(communicator)) await trainer.restore({ ...state, step });
}

type Rolling = Pick<Rollouts, "begin" | "learn"> & Partial<Pick<Rollouts, "validate">>;

/** Completions that the first rank samples, and has rewarded; every rank learns from its part of them. `validates`: validation samples too. */
export function shareRollouts(communicator: Communicator, own: Rolling | undefined, validates: boolean): Rolling {
  if (communicator.size === 1) return own!;
  return {
    begin: async () => own?.begin(),
    async learn(rows, step) {
      const found = await own?.learn(rows, step);
      // rows that are learned from as they are: every rank has them itself, and what is known of them goes by the samples
      const isOther = found !== undefined && found.microBatches !== rows;
      const learned = { microBatches: isOther ? found.microBatches : null, metrics: found?.metrics ?? ({} as Details) };
      const { microBatches, metrics } = await fromFirst(communicator, learned);
      return { microBatches: microBatches ?? rows, metrics };
    },
    ...(validates
      ? { validate: async (step: number) => fromFirst(communicator, (await own?.validate?.(step)) ?? ({} as Details)) }
      : {}),
  };
}

type Asking = (parameters: ReadonlyMap<string, HostTensor>) => Promise<Found>;

/** What the first rank finds out by asking the model, for every rank: it decides which adapter is best, and when to stop. */
export function shareFound(communicator: Communicator, own: Asking | undefined): Asking {
  return async (parameters) => fromFirst(communicator, (await own?.(parameters)) ?? { figures: {}, samples: [] });
}

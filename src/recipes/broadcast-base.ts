import { type Files, folderOf, join, type OpenFile } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { fromFirst, gatherValues } from "../training/communicators/values.js";
import { openModel } from "../weights/model-folder.js";
import { isFirst } from "./ranks.js";

/** Bytes that are on their way at once: what sending takes of the memory of a rank, twice. */
const PIECE = 2 ** 23;

/** Where a rank may put what it receives. */
export interface Receiving {
  /** A folder that is made where it is needed; nothing else is to be in it. */
  readonly folder: string;
  /** A name that ranks of the same machine have in common: of these one receives. */
  readonly machine: string;
}

/** A base as a rank has it. */
export interface ReceivedBase {
  /** The path to open. */
  readonly base: string;
  /** Bytes that this rank has received and written; 0 where it had the base. */
  readonly bytes: number;
  /** Removes what this rank has received, once no rank of its machine opens it any more. */
  dispose(): Promise<void>;
}

interface Sent {
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
}

/**
 * Gives the base of the first rank to machines that do not have it: the files that opening it reads, in pieces of 8 MB, each file compared with its
 * SHA-256. Every rank has to call it. Throws UserError where the first rank has no base, a disk is full, or a file arrives damaged.
 */
export async function broadcastBase(
  communicator: Communicator,
  { files, resolveModel }: Pick<Platform, "files" | "resolveModel">,
  base: string,
  { folder, machine }: Receiving,
): Promise<ReceivedBase> {
  const leads = isFirst(communicator);
  const own = leads ? resolveModel(base) : await found(files, () => resolveModel(base));
  const all = await gatherValues(communicator, { has: own !== null, machine, folder });
  const lacking = all.flatMap(({ has }, rank) => (has ? [] : [rank]));
  const receivers = lacking.filter(
    (rank) => lacking.find((other) => all[other]!.machine === all[rank]!.machine) === rank,
  );
  if (receivers.length === 0) return { base: own!, bytes: 0, dispose: async () => {} };
  const receives = receivers.includes(communicator.rank);
  const group = await communicator.split(leads || receives ? 0 : 1);
  const root = leads ? await rootOf(files, own!) : folder;
  const names = leads ? await namesIn(files, own!, root) : [];
  const list = leads || receives ? await passOn(group, files, root, names) : [];
  const entry = await fromFirst(communicator, leads ? own!.slice(root.length) : ""); // all are waited for
  const from = all.findIndex(({ has, machine: other }) => !has && other === machine);
  const dispose = async () => (receives ? files.remove(folder) : undefined);
  return {
    base: own ?? join(all[from]!.folder, entry),
    bytes: receives ? list.reduce((sum, { size }) => sum + size, 0) : 0,
    dispose,
  };
}

/** A path where something is; null where nothing is. */
async function found(files: Files, resolve: () => string): Promise<string | null> {
  try {
    const path = resolve();
    return (await files.stat(path)) ? path : null;
  } catch (error) {
    if (error instanceof UserError) return null;
    throw error;
  }
}

const rootOf = async (files: Files, path: string): Promise<string> =>
  (await files.stat(path))?.kind === "file" ? folderOf(path) : path.replace(/\/+$/, "");

/** The files under a folder that opening a model reads. */
async function namesIn(files: Files, path: string, root: string): Promise<string[]> {
  const read = new Set<string>();
  const noting = <A extends unknown[], R>(act: (path: string, ...more: A) => R) => {
    return (path: string, ...more: A): R => {
      read.add(path);
      return act(path, ...more);
    };
  };
  const open = noting(files.open.bind(files));
  const model = await openModel({ ...files, open, read: noting(files.read.bind(files)) }, path);
  await model.close();
  return [...read].map((one) => one.slice(root.length).replace(/^\/+/, "")).sort();
}

/** The first of a group sends files, the others write them. */
async function passOn(group: Communicator, files: Files, root: string, names: readonly string[]): Promise<Sent[]> {
  const list: Sent[] = [];
  for (const name of names) {
    const path = join(root, name);
    list.push({ name, size: (await files.stat(path))!.size, sha256: await files.sha256(path) });
  }
  const sent = await fromFirst(group, list);
  if (!isFirst(group)) await files.makeFolder(root);
  for (const { name, size, sha256 } of sent) {
    const path = await files.inside(root, name);
    if (isFirst(group)) {
      for await (const _ of pieces(group, size, await files.open(path)));
      continue;
    }
    await files.makeFolder(folderOf(path));
    await files.write(path, pieces(group, size));
    if ((await files.sha256(path)) !== sha256)
      throw new UserError(`${path}: it arrived from rank 0 with another checksum; start the run again`, {
        code: "rank_lost",
      });
  }
  await group.barrier();
  return sent;
}

/** A file's bytes, piece by piece, as the first of a group reads them. */
async function* pieces(group: Communicator, size: number, file?: OpenFile): AsyncGenerator<Uint8Array> {
  try {
    for (let at = 0; at < size; at += PIECE) {
      const piece = new Uint8Array(Math.min(PIECE, size - at));
      await file?.read(at, piece);
      await group.broadcast(piece, 0);
      yield piece;
    }
  } finally {
    await file?.close();
  }
}

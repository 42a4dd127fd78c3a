import { UserError } from "../../tensor/index.js";
import { entryAt, entryOf, folderAt, partsOf, removeAt } from "./entries.js";

/** How the record of a rename begins: it lies in the root folder from before the first file moves until the last has. */
const RECORD = ".lowrank.rename.";

export const isRenameRecord = (name: string): boolean => name.startsWith(RECORD);

/** What a browser can do with a file beside what its types say: take another place, where it is of the private file system. */
type Movable = FileSystemFileHandle & {
  move?(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
};

/** Renames that a closed tab does not leave half done. */
export interface Renames {
  rename(from: string, to: string): Promise<void>;
  /** Brings to an end what a tab that was closed began; once for this page, then it costs nothing. */
  finish(): Promise<void>;
}

/**
 * Browsers rename no folders. A rename is written down, the files move one by one, and the record goes: whoever comes next after a
 * closed tab goes on with what is written down, so that nobody ever sees half of it. One rename at a time, of all tabs.
 */
export function createRenames(root: FileSystemDirectoryHandle): Renames {
  let finished: Promise<void> | undefined;
  const alone = async <T>(work: () => Promise<T>): Promise<T> => navigator.locks.request("lowrank renames", work);
  const finishAll = () =>
    alone(async () => {
      for await (const name of root.keys()) if (isRenameRecord(name)) await finishOne(root, name);
    });
  return {
    finish: () =>
      (finished ??= finishAll().catch((error: unknown) => {
        finished = undefined;
        throw error;
      })),
    rename: (from, to) =>
      alone(async () => {
        await refuseTaken(root, from, to);
        const record = await writeRecord(root, { from, to });
        await finishOne(root, record);
      }),
  };
}

interface Rename {
  readonly from: string;
  readonly to: string;
}

async function refuseTaken(root: FileSystemDirectoryHandle, from: string, to: string): Promise<void> {
  const [source, target] = [await entryAt(root, from), await entryAt(root, to)];
  if (!source) throw new UserError(`${from}: no such file or folder`, { code: "not_found" });
  if (target && (target.kind === "directory" || source.kind === "directory"))
    throw new UserError(`${to}: something of that name is there already`);
}

async function writeRecord(root: FileSystemDirectoryHandle, rename: Rename): Promise<string> {
  const name = `${RECORD}${crypto.randomUUID()}`;
  const handle = await root.getFileHandle(name, { create: true });
  const writable = await handle.createWritable();
  await writable.write(JSON.stringify(rename));
  await writable.close();
  return name;
}

/** Does what a record says, as much of it as is left. An empty one was not written to its end: nothing had moved. */
async function finishOne(root: FileSystemDirectoryHandle, record: string): Promise<void> {
  const text = await (await (await root.getFileHandle(record)).getFile()).text();
  if (text !== "") {
    const { from, to } = JSON.parse(text) as Rename;
    const source = await entryAt(root, from);
    if (source?.kind === "directory") {
      await moveFolder(source, await folderAt(root, partsOf(to), true));
      await removeAt(root, from);
    } else if (source) {
      const parts = partsOf(to);
      const name = parts.pop()!;
      await moveFile(source, await folderAt(root, parts), name);
      await removeAt(root, from);
    }
  }
  await root.removeEntry(record);
}

async function moveFolder(from: FileSystemDirectoryHandle, to: FileSystemDirectoryHandle): Promise<void> {
  const entries: (FileSystemFileHandle | FileSystemDirectoryHandle)[] = [];
  for await (const entry of from.values()) entries.push(entry);
  for (const entry of entries) {
    const { name } = entry;
    if (entry.kind === "directory") await moveFolder(entry, await to.getDirectoryHandle(name, { create: true }));
    else {
      await moveFile(entry, to, name);
      await from.removeEntry(name).catch(ignoreGone);
    }
  }
}

/** Moves a file where the browser can, else copies it: whoever calls removes what is left. */
async function moveFile(file: Movable, folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  if (await entryOf(folder, name)) await folder.removeEntry(name);
  if (file.move) {
    try {
      await file.move(folder, name);
      return;
    } catch (error) {
      // Of a folder on the disk some browsers refuse it: it is copied.
      if ((error as Error).name === "QuotaExceededError") throw error;
    }
  }
  const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
  await (await file.getFile()).stream().pipeTo(writable);
}

function ignoreGone(error: Error): void {
  if (error.name !== "NotFoundError") throw error;
}

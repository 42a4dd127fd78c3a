import { chunksOf, type Files, type OpenFile, unsafeName } from "../../formats/files.js";
import { UserError } from "../../tensor/index.js";
import { sha256Of } from "../sha256.js";
import { entryAt, entryOf, folderAt, partsOf, removeAt } from "./entries.js";
import { createRenames, isRenameRecord } from "./renames.js";

/** Bytes that a file is hashed and copied by. */
const CHUNK = 2 ** 20;

const REASONS: Readonly<Record<string, string>> = {
  NotFoundError: "no such file or folder",
  TypeMismatchError: "a folder is where a file was expected, or a file where a folder was",
  QuotaExceededError:
    "the browser's storage for this site is full; remove runs or models and go on (what was there before is untouched)",
  NotAllowedError: "the browser does not allow it; choose the folder again and let this page write to it",
  NoModificationAllowedError: "another tab is writing to it; wait for it or close that tab",
  NotReadableError: "it was changed or removed while it was read; choose it again",
  InvalidModificationError: "something is there already",
  TypeError: "the browser does not allow such a name",
};

/** Turns a browser's error into a UserError that names the path; anything else passes through. */
function explain(path: string, error: unknown): unknown {
  const reason = REASONS[(error as Error | undefined)?.name ?? ""];
  return reason === undefined || error instanceof UserError
    ? error
    : new UserError(`${path}: ${reason}`, { cause: error });
}

async function attempt<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw explain(path, error);
  }
}

/**
 * A folder of the browser as files: of the origin's private file system, or one that was chosen on the disk. What is written takes
 * its name only when it is whole; a folder that was being renamed when the tab closed is renamed to the end before anything else.
 */
export function directoryFiles(root: FileSystemDirectoryHandle): Files {
  const renames = createRenames(root);
  const ready = () => renames.finish();
  return {
    stat: (path) =>
      attempt(path, async () => {
        await ready();
        const entry = await entryAt(root, path);
        if (!entry) return undefined;
        if (entry.kind === "directory") return { kind: "folder", size: 0 };
        const { size, lastModified } = await entry.getFile();
        return { kind: "file", size, modified: lastModified };
      }),
    open: (path) =>
      attempt(path, async () => {
        await ready();
        return openBlob(path, await fileAt(root, path));
      }),
    async read(path, maxBytes = 256 * 2 ** 20) {
      const file = await this.open(path);
      if (file.size > maxBytes) throw new UserError(`${path}: ${file.size} bytes, at most ${maxBytes} were expected`);
      const bytes = new Uint8Array(file.size);
      await file.read(0, bytes);
      return bytes;
    },
    list: (path) =>
      attempt(path, async () => {
        await ready();
        const names: string[] = [];
        for await (const name of (await folderAt(root, partsOf(path))).keys()) names.push(name);
        return names.filter((name) => !isRenameRecord(name)).sort();
      }),
    makeFolder: (path) =>
      attempt(path, async () => {
        await ready();
        await folderAt(root, partsOf(path), true);
      }),
    write: (path, content) =>
      attempt(path, async () => {
        await ready();
        await writeFile(root, path, content);
      }),
    remove: (path) =>
      attempt(path, async () => {
        await ready();
        await removeAt(root, path);
      }),
    rename: (from, to) =>
      attempt(to, async () => {
        await ready();
        await renames.rename(from, to);
      }),
    sha256: (path) =>
      attempt(path, async () => {
        await ready();
        return sha256Of(await fileAt(root, path));
      }),
    async inside(folder, name) {
      const fault = unsafeName(name);
      if (fault) throw new UserError(`${folder}: the file name ${JSON.stringify(name)} is refused: ${fault}`);
      return `${folder}/${name}`;
    },
  };
}

async function fileAt(root: FileSystemDirectoryHandle, path: string): Promise<File> {
  const parts = partsOf(path);
  const name = parts.pop() ?? "";
  return (await (await folderAt(root, parts)).getFileHandle(name)).getFile();
}

/** A file, or what was dropped into the page, read by position. */
export function openBlob(path: string, blob: Blob): OpenFile {
  return {
    path,
    size: blob.size,
    ...(blob instanceof File ? { modified: blob.lastModified } : {}),
    async read(offset, into) {
      if (offset + into.length > blob.size) throw new UserError(`${path}: the file ends at byte ${blob.size}`);
      const part = blob.slice(offset, offset + into.length);
      into.set(new Uint8Array(await attempt(path, () => part.arrayBuffer())));
    },
    async close() {},
  };
}

/** Writes into what the browser keeps aside until it is closed, so that the file is changed whole or not at all. */
async function writeFile(
  root: FileSystemDirectoryHandle,
  path: string,
  content: Parameters<Files["write"]>[1],
): Promise<void> {
  const parts = partsOf(path);
  const name = parts.pop() ?? "";
  const folder = await folderAt(root, parts);
  const isNew = (await entryOf(folder, name)) === undefined;
  const handle = await folder.getFileHandle(name, { create: true });
  const writable = await handle.createWritable();
  try {
    for await (const part of inChunks(chunksOf(content))) await writable.write(part);
    await writable.close();
  } catch (error) {
    await writable.abort().catch(() => {});
    if (isNew) await folder.removeEntry(name).catch(() => {});
    throw error;
  }
}

/** Small parts gathered: each write crosses to another process. Memory that threads share is copied. */
async function* inChunks(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let buffer = new Uint8Array(CHUNK);
  let filled = 0;
  for await (const part of parts) {
    if (filled + part.length > CHUNK) {
      if (filled > 0) yield buffer.subarray(0, filled);
      buffer = new Uint8Array(CHUNK);
      filled = 0;
    }
    if (part.length > CHUNK) yield part.slice() as Uint8Array<ArrayBuffer>;
    else {
      buffer.set(part, filled);
      filled += part.length;
    }
  }
  if (filled > 0) yield buffer.subarray(0, filled);
}

import { createHash } from "node:crypto";
import { constants, fsync, type Stats } from "node:fs";
import { chmod, type FileHandle, lstat, mkdir, open, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, join, sep } from "node:path";
import { promisify } from "node:util";
import { type Content, chunksOf, type Files, type OpenFile, UNFINISHED, unsafeName } from "../formats/files.js";
import { UserError } from "../tensor/index.js";

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder",
  ENOTDIR: "part of the path is a file, not a folder",
  EISDIR: "this is a folder, a file was expected",
  EACCES: "permission denied; choose another place or change its permissions",
  EPERM: "not permitted here; choose another place or change its permissions",
  EROFS: "the disk is read-only; choose another place",
  ENOSPC: "the disk is full; free some space and run again (what was there before is untouched)",
  EDQUOT: "the disk quota is used up; free some space and run again (what was there before is untouched)",
  EMFILE: "too many files are open",
  ENAMETOOLONG: "the name is too long",
  ELOOP: "symbolic links go in a circle",
  EEXIST: "something of that name is there already",
  ENOTEMPTY: "a folder of that name is there already and is not empty",
  EIO: "the disk reports an input/output error",
  ENXIO: "this is not a regular file",
  EAGAIN: "nothing can be read from it now",
  ERR_INVALID_ARG_VALUE: "a path cannot have a NUL character in it",
};

/** Turns an operating system error into a UserError that names the path; anything else passes through. */
export function explain(path: string, error: unknown): unknown {
  const { code = "", syscall } = (error ?? {}) as NodeJS.ErrnoException;
  const reason = REASONS[code] ?? (syscall === undefined ? undefined : `the system refuses it (${code}, ${syscall})`);
  return reason === undefined
    ? error
    : new UserError(`${JSON.stringify(path).slice(1, -1)}: ${reason}`, { cause: error });
}

/** Runs an action on `path`. Throws UserError for what the disk refuses. */
export async function attempt<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw explain(path, error);
  }
}

/** The local disk. */
export const nodeFiles: Files = {
  async stat(path) {
    try {
      const found = await stat(path);
      return { kind: found.isDirectory() ? "folder" : "file", size: found.size, modified: modified(found) };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOENT" || code === "ENOTDIR") return undefined;
      throw explain(path, error);
    }
  },
  open: (path) => attempt(path, () => openFile(path)),
  async read(path, maxBytes = 256 * 2 ** 20) {
    const file = await this.open(path);
    try {
      if (file.size > maxBytes) throw new UserError(`${path}: ${file.size} bytes, at most ${maxBytes} were expected`);
      const bytes = new Uint8Array(file.size);
      await file.read(0, bytes);
      return bytes;
    } finally {
      await file.close();
    }
  },
  list: (path) => attempt(path, async () => (await readdir(path)).sort()),
  makeFolder: (path) => attempt(path, async () => void (await mkdir(path, { recursive: true }))),
  write: (path, content) => attempt(path, () => writeFile(path, content)),
  remove: (path) => attempt(path, () => rm(path, { recursive: true, force: true })),
  rename: (from, to) =>
    attempt(to, async () => {
      await rename(from, to);
      await syncFolder(dirname(to));
    }),
  sha256: (path) => attempt(path, () => hashFile(path)),
  inside: (folder, name) => attempt(`${folder}/${name}`, () => safePath(folder, name)),
};

/** The local disk, where what is made is for this user alone: folders 0700, one that is there already too, and files 0600. */
export const ownFiles: Files = {
  ...nodeFiles,
  makeFolder: (path) =>
    attempt(path, async () => {
      await mkdir(path, { recursive: true, mode: 0o700 });
      await chmod(path, 0o700).catch(unlessForeign);
    }),
  write: (path, content) => attempt(path, () => writeFile(path, content, 0o600)),
};

/** A folder that belongs to another user, who lets this one write into it, keeps the permissions it was given. */
function unlessForeign(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPERM") throw error;
}

/** A file that is moved into place keeps its own time of writing, but not that of its entry. */
const modified = ({ mtimeMs, ctimeMs }: Stats): number => Math.max(mtimeMs, ctimeMs);

async function openFile(path: string): Promise<OpenFile> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = await handle.stat();
    if (found.isDirectory()) throw new UserError(`${path}: this is a folder, a file was expected`);
    if (!found.isFile()) throw new UserError(`${path}: this is not a regular file`);
    return {
      path,
      size: found.size,
      modified: modified(found),
      read: (offset, into) => attempt(path, () => readFully(handle, path, offset, into)),
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function readFully(handle: FileHandle, path: string, offset: number, into: Uint8Array): Promise<void> {
  let done = 0;
  while (done < into.length) {
    const length = Math.min(into.length - done, 2 ** 30);
    const { bytesRead } = await handle.read(into, done, length, offset + done);
    if (bytesRead === 0)
      throw new UserError(`${path}: the file ends at byte ${offset + done}, ${into.length - done} bytes early`);
    done += bytesRead;
  }
}

async function writeFile(path: string, content: Content, mode = 0o666): Promise<void> {
  const partial = path + UNFINISHED;
  await rm(partial, { force: true });
  const handle = await open(partial, "wx", mode);
  try {
    for await (const chunk of chunksOf(content)) {
      for (let done = 0; done < chunk.length; ) done += (await handle.write(chunk, done)).bytesWritten;
    }
    await toDisk(handle);
    await handle.close();
    await rename(partial, path);
  } catch (error) {
    await handle.close().catch(() => undefined);
    await rm(partial, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Waits until what was written is on the disk. By number: the handles that Yarn's Plug'n'Play gives out have no `sync`. */
export const toDisk = ({ fd }: FileHandle): Promise<void> => promisify(fsync)(fd);

/** Makes a rename durable; some systems cannot open folders, which is no fault. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r").catch(() => undefined);
  if (handle) await toDisk(handle).catch(() => undefined);
  await handle?.close();
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  const file = await openFile(path);
  try {
    const buffer = new Uint8Array(2 ** 20);
    for (let offset = 0; offset < file.size; offset += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, file.size - offset));
      await file.read(offset, part);
      hash.update(part);
    }
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

/** A snapshot of the Hugging Face cache, or a folder in it: the cache, the repository's folder, the rest. */
const HUB_SNAPSHOT = /^(.*)([/\\]models--[^/\\]+)[/\\]snapshots[/\\][^/\\]+(?:[/\\]|$)/;

/** Where the files of a folder may really lie: in it; those of a snapshot also in the blobs of its repository and its cache. */
function rootsOf(folder: string): string[] {
  const [, cache, repository] = HUB_SNAPSHOT.exec(folder) ?? [];
  return repository ? [join(cache!, repository), join(cache!, "blobs")] : [folder];
}

async function safePath(folder: string, name: string): Promise<string> {
  const fault = unsafeName(name);
  if (fault) throw new UserError(`${folder}: the file name ${JSON.stringify(name)} is refused: ${fault}`);
  const path = join(folder, name);
  const real = await realpath(folder);
  let existing = path;
  while (existing !== folder && (await lstat(existing).catch(() => undefined)) === undefined)
    existing = dirname(existing);
  const target = await realpath(existing);
  if (target !== real && !rootsOf(real).some((root) => target.startsWith(root + sep))) {
    throw new UserError(
      `${folder}: ${JSON.stringify(name)} is refused: it leads out of the folder through a symbolic link; copy the file into the folder`,
    );
  }
  return path;
}

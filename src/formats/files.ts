import { UserError } from "../tensor/errors.js";

/**
 * What is being written, and what is to be replaced, has these ends to its name until it is done. They say whose it is: a
 * `notes.partial` beside it is somebody else's, and stays.
 */
export const UNFINISHED = ".lowrank.partial";
const REPLACED = ".lowrank.replaced";
/** A folder with what came so far of a file that is being downloaded in a browser has this end to its name. */
export const DOWNLOADING = ".lowrank.parts";

/** Bytes to be written: all at once, or as a stream of chunks. */
export type Content = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** An open file, read by position. */
export interface OpenFile {
  readonly path: string;
  /** Bytes, when it was opened. */
  readonly size: number;
  /** When it had been changed last, when it was opened: as `FileStat`. */
  readonly modified?: number;
  /** Fills `into` from the bytes at `offset`. Throws UserError when the file ends before `into` is full. */
  read(offset: number, into: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface FileStat {
  readonly kind: "file" | "folder";
  readonly size: number;
  /** When it was changed last, in milliseconds since 1970, where the system says it. */
  readonly modified?: number;
}

/**
 * The files a program can reach: a disk, browser storage or memory. Paths use `/`. Every method throws UserError, naming
 * the path, for what the user can mend (not there, no permission, disk full).
 */
export interface Files {
  /** What `path` is, or undefined when nothing is there. */
  stat(path: string): Promise<FileStat | undefined>;
  open(path: string): Promise<OpenFile>;
  /** The whole file; refused above `maxBytes` (default 256 MiB). */
  read(path: string, maxBytes?: number): Promise<Uint8Array>;
  /** Names in a folder, sorted. */
  list(path: string): Promise<string[]>;
  /** Makes a folder and its parents; one that exists already is fine. */
  makeFolder(path: string): Promise<void>;
  /**
   * Writes a file whole or not at all: into `<path>.lowrank.partial`, flushed to the disk, then renamed over `path`.
   * Parent folders must exist.
   */
  write(path: string, content: Content): Promise<void>;
  /** Removes a file, or a folder with all it holds; nothing there is fine. */
  remove(path: string): Promise<void>;
  /** Renames a file or folder; the new name must be free, or a file when a file is renamed. */
  rename(from: string, to: string): Promise<void>;
  /** SHA-256 of a file's bytes, lower-case hex. */
  sha256(path: string): Promise<string>;
  /**
   * The path of `name` in `folder`, for names that come out of a file (a `weight_map`, an adapter). Throws UserError when
   * it is absolute, has `..`, `\` or NUL in it, or leads out of the folder through a symbolic link.
   */
  inside(folder: string, name: string): Promise<string>;
}

/** Joins path parts with `/`; for names this program chose itself (`Files.inside` is for the others). */
export function join(...parts: string[]): string {
  return parts
    .filter((part) => part !== "")
    .join("/")
    .replace(/\/{2,}/g, "/");
}

/** The last name of a path. */
export function baseName(path: string): string {
  return path.replace(/[/\\]+$/, "").replace(/^.*[/\\]/, "");
}

/** The folder that a path's last name is in. */
export function folderOf(path: string): string {
  const whole = path.replace(/[/\\]+$/, "");
  const parent = whole.slice(0, whole.length - baseName(whole).length);
  return parent.replace(/(?<=.)[/\\]+$/, "") || ".";
}

/** What is wrong with `name` as a path inside a folder, or undefined when nothing is. */
export function unsafeName(name: string): string | undefined {
  if (name === "") return "it is empty";
  if (name.includes("\0")) return "it has a NUL character in it";
  if (name.includes("\\")) return "it has a backslash in it";
  if (name.startsWith("/") || /^[A-Za-z]:/.test(name)) return "it is absolute";
  if (name.split("/").some((part) => part === ".." || part === "." || part === ""))
    return "it has '..', '.' or '//' in it";
  return undefined;
}

/**
 * Writes a folder whole or not at all: `fill` writes into `<path>.lowrank.partial`, which then takes the name `path`. An earlier
 * folder of that name is replaced last; when `fill` throws, it is untouched and nothing is left behind. A program killed
 * between the last two renames leaves the earlier folder as `<path>.lowrank.replaced`, which `recoverFolder` puts back.
 */
export async function writeFolder(files: Files, name: string, fill: (folder: string) => Promise<void>): Promise<void> {
  const path = name.replace(/(?<=.)\/+$/, "");
  const partial = path + UNFINISHED;
  const earlier = path + REPLACED;
  await recoverFolder(files, path);
  await files.remove(partial);
  await files.makeFolder(partial);
  try {
    await fill(partial);
  } catch (error) {
    await files.remove(partial);
    throw error;
  }
  const exists = (await files.stat(path)) !== undefined;
  if (exists) await files.rename(path, earlier);
  await files.rename(partial, path);
  if (exists) await files.remove(earlier);
}

/** Throws UserError where no file can be written for want of a folder: to be asked before what takes long. */
export async function refuseNoFolder(files: Files, path: string): Promise<void> {
  const folder = folderOf(path);
  if ((await files.stat(folder))?.kind === "folder") return;
  throw new UserError(`${path}: there is no folder '${folder}'; make it first`);
}

/** Finishes what a killed `writeFolder` left: an earlier folder that was moved aside and not yet replaced comes back. */
export async function recoverFolder(files: Files, path: string): Promise<void> {
  const earlier = path + REPLACED;
  if (!(await files.stat(earlier))) return;
  if (await files.stat(path)) await files.remove(earlier);
  else await files.rename(earlier, path);
}

/** The names, sizes and times of a folder's files: another text when one of them was changed. Undefined: there is no such folder. */
export async function folderVersion(files: Files, path: string): Promise<string | undefined> {
  if ((await files.stat(path))?.kind !== "folder") return undefined;
  const names = await files.list(path).catch(() => []);
  const stats = await Promise.all(names.map((name) => files.stat(join(path, name))));
  return names.map((name, i) => `${name} ${stats[i]?.size} ${stats[i]?.modified}`).join("\n");
}

/** The chunks of `content`, as bytes. */
export async function* chunksOf(content: Content): AsyncGenerator<Uint8Array> {
  if (typeof content === "string") yield new TextEncoder().encode(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content;
}

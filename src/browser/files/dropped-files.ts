import type { Files } from "../../formats/files.js";
import { unsafeName } from "../../formats/files.js";
import { UserError } from "../../tensor/index.js";
import { sha256Of } from "../sha256.js";
import { openBlob } from "./directory-files.js";
import { partsOf } from "./entries.js";

/** A file that can only be read. */
export interface HeldFile {
  readonly size: number;
  readonly modified?: number | undefined;
  /** Its bytes, when they are wanted. */
  blob(): Promise<Blob>;
}

/** What was dropped into the page, where it lies on the disk. */
export const heldFile = (file: Blob & { readonly lastModified?: number }): HeldFile => ({
  size: file.size,
  modified: file.lastModified,
  blob: async () => file,
});

/**
 * What was dropped into the page or chosen in it, by name: read where it lies on the disk, and copied nowhere. It can only be read; a
 * dropped folder's files have the folder's name before theirs (`webkitRelativePath`).
 */
export function droppedFiles(dropped: readonly File[]): Files {
  const named = dropped.map((file) => [key(file.webkitRelativePath || file.name), heldFile(file)] as const);
  return heldFiles(new Map(named), "what was dropped");
}

/** The names of a path with one slash between them. */
const key = (path: string): string => partsOf(path).join("/");

/** Files by their paths, which may become more, and which can only be read. `what` they are, for the words of a refusal. */
export function heldFiles(byPath: ReadonlyMap<string, HeldFile>, what: string): Files {
  const under = (path: string) => {
    const start = key(path) === "" ? "" : `${key(path)}/`;
    return [...byPath.keys()].filter((name) => name.startsWith(start)).map((name) => name.slice(start.length));
  };
  const get = (path: string): HeldFile => {
    const file = byPath.get(key(path));
    if (!file) throw new UserError(`${path}: no such file or folder`, { code: "not_found" });
    return file;
  };
  const refuse = (path: string): Promise<never> =>
    Promise.reject(new UserError(`${path}: ${what} can only be read; choose another place to write to`));
  return {
    async stat(path) {
      const file = byPath.get(key(path));
      if (file) return { kind: "file", size: file.size, ...(file.modified ? { modified: file.modified } : {}) };
      return under(path).length > 0 ? { kind: "folder", size: 0 } : undefined;
    },
    open: async (path) => openBlob(path, await get(path).blob()),
    async read(path, maxBytes = 256 * 2 ** 20) {
      const file = get(path);
      if (file.size > maxBytes) throw new UserError(`${path}: ${file.size} bytes, at most ${maxBytes} were expected`);
      const bytes = new Uint8Array(file.size);
      await openBlob(path, await file.blob()).read(0, bytes);
      return bytes;
    },
    list: async (path) => [...new Set(under(path).map((name) => name.split("/")[0]!))].sort(),
    makeFolder: refuse,
    write: refuse,
    remove: refuse,
    rename: (_, to) => refuse(to),
    sha256: async (path) => sha256Of(await get(path).blob()),
    async inside(folder, name) {
      const fault = unsafeName(name);
      if (fault) throw new UserError(`${folder}: the file name ${JSON.stringify(name)} is refused: ${fault}`);
      return `${folder}/${name}`;
    },
  };
}

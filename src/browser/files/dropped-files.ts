import type { Files } from "../../formats/files.js";
import { unsafeName } from "../../formats/files.js";
import { UserError } from "../../tensor/index.js";
import { sha256Of } from "../sha256.js";
import { openBlob } from "./directory-files.js";
import { partsOf } from "./entries.js";

/**
 * What was dropped into the page or chosen in it, by name: read where it lies on the disk, and copied nowhere. It can only be read; a
 * dropped folder's files have the folder's name before theirs (`webkitRelativePath`).
 */
export function droppedFiles(dropped: readonly File[]): Files {
  const byPath = new Map<string, File>();
  for (const file of dropped) byPath.set(partsOf(file.webkitRelativePath || file.name).join("/"), file);
  const key = (path: string) => partsOf(path).join("/");
  const under = (path: string) => {
    const start = key(path) === "" ? "" : `${key(path)}/`;
    return [...byPath.keys()].filter((name) => name.startsWith(start)).map((name) => name.slice(start.length));
  };
  const get = (path: string): File => {
    const file = byPath.get(key(path));
    if (!file) throw new UserError(`${path}: no such file or folder`, { code: "not_found" });
    return file;
  };
  const refuse = (path: string): Promise<never> =>
    Promise.reject(new UserError(`${path}: what was dropped can only be read; choose another place to write to`));
  return {
    async stat(path) {
      const file = byPath.get(key(path));
      if (file) return { kind: "file", size: file.size, modified: file.lastModified };
      return under(path).length > 0 ? { kind: "folder", size: 0 } : undefined;
    },
    open: async (path) => openBlob(path, get(path)),
    async read(path, maxBytes = 256 * 2 ** 20) {
      const file = get(path);
      if (file.size > maxBytes) throw new UserError(`${path}: ${file.size} bytes, at most ${maxBytes} were expected`);
      const bytes = new Uint8Array(file.size);
      await openBlob(path, file).read(0, bytes);
      return bytes;
    },
    list: async (path) => [...new Set(under(path).map((name) => name.split("/")[0]!))].sort(),
    makeFolder: refuse,
    write: refuse,
    remove: refuse,
    rename: (_, to) => refuse(to),
    sha256: async (path) => sha256Of(get(path)),
    async inside(folder, name) {
      const fault = unsafeName(name);
      if (fault) throw new UserError(`${folder}: the file name ${JSON.stringify(name)} is refused: ${fault}`);
      return `${folder}/${name}`;
    },
  };
}

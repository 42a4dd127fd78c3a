import { UserError } from "../tensor/index.js";
import { chunksOf, type Files, unsafeName } from "./files.js";

/** Files held in memory, for tests and for programs without a disk. `initial` maps paths to contents. */
export function memoryFiles(initial: Readonly<Record<string, Uint8Array | string>> = {}): Files {
  const contents = new Map<string, Uint8Array>();
  const folders = new Set<string>();
  for (const [path, content] of Object.entries(initial)) {
    contents.set(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
  }
  const startOf = (path: string) => (path === "" ? "" : `${path}/`);
  const under = (path: string) => [...contents.keys()].filter((key) => key.startsWith(startOf(path)));
  const get = (path: string): Uint8Array => {
    const bytes = contents.get(path);
    if (!bytes) throw new UserError(`${path}: no such file or folder`);
    return bytes;
  };
  return {
    async stat(path) {
      const bytes = contents.get(path);
      if (bytes) return { kind: "file", size: bytes.length };
      return folders.has(path) || under(path).length > 0 ? { kind: "folder", size: 0 } : undefined;
    },
    async open(path) {
      const bytes = get(path);
      return {
        path,
        size: bytes.length,
        async read(offset, into) {
          if (offset + into.length > bytes.length)
            throw new UserError(`${path}: the file ends at byte ${bytes.length}`);
          into.set(bytes.subarray(offset, offset + into.length));
        },
        async close() {},
      };
    },
    async read(path, maxBytes = Number.POSITIVE_INFINITY) {
      const bytes = get(path);
      if (bytes.length > maxBytes)
        throw new UserError(`${path}: ${bytes.length} bytes, at most ${maxBytes} were expected`);
      return bytes.slice();
    },
    async list(path) {
      return [...new Set(under(path).map((key) => key.slice(startOf(path).length).split("/")[0]!))].sort();
    },
    async makeFolder(path) {
      folders.add(path);
    },
    async write(path, content) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of chunksOf(content)) chunks.push(chunk.slice());
      const bytes = new Uint8Array(chunks.reduce((n, chunk) => n + chunk.length, 0));
      let at = 0;
      for (const chunk of chunks) {
        bytes.set(chunk, at);
        at += chunk.length;
      }
      contents.set(path, bytes);
    },
    async remove(path) {
      for (const key of [path, ...under(path)]) contents.delete(key);
      folders.delete(path);
    },
    async rename(from, to) {
      for (const key of [from, ...under(from)]) {
        const bytes = contents.get(key);
        if (bytes) contents.set(to + key.slice(from.length), bytes);
        contents.delete(key);
      }
      if (folders.delete(from)) folders.add(to);
    },
    async sha256(path) {
      const digest = await crypto.subtle.digest("SHA-256", get(path).slice());
      return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
    },
    async inside(folder, name) {
      const fault = unsafeName(name);
      if (fault) throw new UserError(`${folder}: the file name ${JSON.stringify(name)} is refused: ${fault}`);
      return `${folder}/${name}`;
    },
  };
}

import { UserError } from "../tensor/index.js";
import { type Content, chunksOf, type Files } from "./files.js";

/**
 * The same files until `signal` is aborted; from then on reading and writing throw, so that whoever writes stops and cleans up
 * as after any failure. Removing and renaming still work.
 */
export function stoppableFiles(files: Files, signal: AbortSignal): Files {
  const check = () => {
    if (signal.aborted) throw new UserError("interrupted; nothing was kept", { code: "interrupted" });
  };
  const checked = async function* (content: Content) {
    for await (const chunk of chunksOf(content)) {
      check();
      yield chunk;
    }
  };
  return {
    stat: (path) => files.stat(path),
    list: (path) => files.list(path),
    inside: (folder, name) => files.inside(folder, name),
    remove: (path) => files.remove(path),
    rename: (from, to) => files.rename(from, to),
    async open(path) {
      check();
      const file = await files.open(path);
      const read: typeof file.read = async (offset, into) => {
        check();
        await file.read(offset, into);
      };
      return { ...file, read, close: () => file.close() };
    },
    async read(path, maxBytes) {
      check();
      return files.read(path, maxBytes);
    },
    async makeFolder(path) {
      check();
      await files.makeFolder(path);
    },
    async write(path, content) {
      check();
      await files.write(path, checked(content));
    },
    async sha256(path) {
      check();
      return files.sha256(path);
    },
  };
}

import type { Files } from "../../formats/files.js";
import { UserError } from "../../tensor/index.js";
import { partsOf } from "./entries.js";

/** Files that are made of several: `main`, and others that each have a name at its root. */
export interface Mounts {
  readonly files: Files;
  /** Puts files under a name. Throws UserError where the name is taken or is no name. */
  add(name: string, files: Files): void;
}

/** What is under a mounted name is the mounted files' own, by paths without that name; everything else is `main`'s. */
export function mounts(main: Files): Mounts {
  const mounted = new Map<string, Files>();
  const at = (path: string): { files: Files; inner: string } => {
    const [first = "", ...rest] = partsOf(path);
    const files = mounted.get(first);
    return files ? { files, inner: rest.join("/") } : { files: main, inner: path };
  };
  /** Errors name the path that the caller knows. */
  const named = async <T>(path: string, inner: string, work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      if (!(error instanceof UserError) || inner === path || !error.message.startsWith(inner)) throw error;
      throw new UserError(path + error.message.slice(inner.length), { cause: error.cause, code: error.code });
    }
  };
  const on =
    <A extends unknown[], T>(call: (files: Files, path: string, ...more: A) => Promise<T>) =>
    (path: string, ...more: A): Promise<T> => {
      const { files, inner } = at(path);
      return named(path, inner, call(files, inner, ...more));
    };
  const files: Files = {
    stat: on((files, path) => files.stat(path)),
    open: async (path) => ({ ...(await on((files, inner) => files.open(inner))(path)), path }),
    read: on((files, path, maxBytes?: number) => files.read(path, maxBytes)),
    async list(path) {
      const { files, inner } = at(path);
      const names = await named(path, inner, files.list(inner));
      return partsOf(path).length > 0 ? names : [...new Set([...names, ...mounted.keys()])].sort();
    },
    makeFolder: on((files, path) => files.makeFolder(path)),
    write: on((files, path, content: Parameters<Files["write"]>[1]) => files.write(path, content)),
    remove: on((files, path) => files.remove(path)),
    rename(from, to) {
      const [source, target] = [at(from), at(to)];
      if (source.files === target.files)
        return named(to, target.inner, source.files.rename(source.inner, target.inner));
      return Promise.reject(new UserError(`${to}: it is not in the same storage as ${from}; copy it instead`));
    },
    sha256: on((files, path) => files.sha256(path)),
    inside: async (folder, name) => {
      const { files, inner } = at(folder);
      await named(folder, inner, files.inside(inner, name));
      return `${folder}/${name}`;
    },
  };
  return {
    files,
    add(name, more) {
      if (name === "" || name === "." || name === ".." || /[/\\\0]/.test(name))
        throw new UserError(`${JSON.stringify(name)} cannot be a name of files: give one without slashes`);
      if (mounted.has(name)) throw new UserError(`'${name}' is the name of other files already; choose another`);
      mounted.set(name, more);
    },
  };
}

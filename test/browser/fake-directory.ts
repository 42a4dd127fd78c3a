/** What a browser does to storage, of which the tab may be closed in the middle: every change counts one. */
export interface FakeStorage {
  readonly root: FileSystemDirectoryHandle;
  /** From the change of this number on nothing happens any more, as in a tab that was closed. */
  closeAt(change: number): void;
  /** Changes so far. */
  readonly changes: number;
  /** Bytes that fit; default: any number. */
  quota: number;
}

type Entry = Folder | Stored;
interface Folder {
  readonly kind: "directory";
  readonly entries: Map<string, Entry>;
}
interface Stored {
  readonly kind: "file";
  bytes: Uint8Array<ArrayBuffer>;
}

const failure = (name: string): DOMException => new DOMException(name, name);

/** The private file system of an origin, as far as it is used: folders are not renamed, files take another place by `move`. */
export function fakeStorage({ moves = true } = {}): FakeStorage {
  const state = { changes: 0, closed: Number.POSITIVE_INFINITY, quota: Number.POSITIVE_INFINITY };
  const top: Folder = { kind: "directory", entries: new Map() };
  const size = (entry: Entry): number =>
    entry.kind === "file" ? entry.bytes.length : [...entry.entries.values()].reduce((sum, one) => sum + size(one), 0);
  /** A change that happens whole, or not because the tab is gone. */
  const change = <T>(action: () => T): T => {
    if (state.changes >= state.closed) throw new Error("the tab is closed");
    state.changes++;
    return action();
  };
  const find = (folder: Folder, name: string, kind: Entry["kind"], create: boolean): Entry => {
    if (name === "" || /[/\\]/.test(name)) throw new TypeError("name is not allowed");
    const found = folder.entries.get(name);
    if (found && found.kind !== kind) throw failure("TypeMismatchError");
    if (found) return found;
    if (!create) throw failure("NotFoundError");
    const made: Entry =
      kind === "file" ? { kind: "file", bytes: new Uint8Array() } : { kind: "directory", entries: new Map() };
    return change(() => {
      folder.entries.set(name, made);
      return made;
    });
  };
  const writable = (file: Stored) => {
    let parts: Uint8Array[] = [];
    const close = async () =>
      change(() => {
        const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
        if (size(top) - file.bytes.length + bytes.length > state.quota) throw failure("QuotaExceededError");
        let at = 0;
        for (const part of parts) {
          bytes.set(part, at);
          at += part.length;
        }
        file.bytes = bytes;
      });
    const write = async (part: Uint8Array | string) =>
      void parts.push(typeof part === "string" ? new TextEncoder().encode(part) : part.slice());
    const abort = async () => {
      parts = [];
    };
    return Object.assign(new WritableStream<Uint8Array>({ write, close, abort }), { write, close, abort });
  };
  const fileHandle = (folder: Folder, name: string, file: Stored) => ({
    kind: "file",
    name,
    getFile: async () => new File([file.bytes], name),
    createWritable: async () => writable(file),
    ...(moves
      ? {
          move: async (to: { folder: Folder }, other: string) =>
            change(() => {
              folder.entries.delete(name);
              to.folder.entries.set(other, file);
            }),
        }
      : {}),
  });
  const directoryHandle = (folder: Folder, name: string): unknown => ({
    kind: "directory",
    name,
    folder,
    getDirectoryHandle: async (inner: string, { create = false } = {}) =>
      directoryHandle(find(folder, inner, "directory", create) as Folder, inner),
    getFileHandle: async (inner: string, { create = false } = {}) =>
      fileHandle(folder, inner, find(folder, inner, "file", create) as Stored),
    async removeEntry(inner: string) {
      if (!folder.entries.has(inner)) throw failure("NotFoundError");
      change(() => folder.entries.delete(inner));
    },
    async *keys() {
      yield* [...folder.entries.keys()];
    },
    async *values() {
      for (const [inner, entry] of [...folder.entries])
        yield entry.kind === "file" ? fileHandle(folder, inner, entry) : directoryHandle(entry, inner);
    },
  });
  return {
    root: directoryHandle(top, "") as FileSystemDirectoryHandle,
    closeAt: (number) => {
      state.closed = number;
    },
    get changes() {
      return state.changes;
    },
    get quota() {
      return state.quota;
    },
    set quota(bytes) {
      state.quota = bytes;
    },
  };
}

/** Web Locks of one tab: one holder a name, others wait, or are refused where they ask only for what is free. */
export function fakeLocks(): Pick<LockManager, "request"> {
  const held = new Map<string, Promise<unknown>>();
  async function request(name: string, ...more: unknown[]): Promise<unknown> {
    const work = more.pop() as (lock: object | null) => unknown;
    const { ifAvailable = false } = (more.pop() ?? {}) as { ifAvailable?: boolean };
    if (ifAvailable && held.has(name)) return work(null);
    while (held.has(name)) await held.get(name)!.catch(() => {});
    const done = (async () => work({ name }))();
    held.set(name, done);
    try {
      return await done;
    } finally {
      held.delete(name);
    }
  }
  return { request: request as LockManager["request"] };
}

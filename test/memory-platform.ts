import type { Files } from "../src/formats/files.js";
import type { Platform } from "../src/platform/platform.js";
import { directRunner } from "../src/tokenizers/chat-template.js";

/** A platform of files alone, whose clock goes on by itself: nothing of Node. `more` replaces what it has. */
export function memoryPlatform(files: Files, more: Partial<Platform> = {}): Platform {
  let now = 1e12;
  return {
    files,
    async append(path, content) {
      const before = (await files.stat(path)) ? [await files.read(path)] : [];
      const added = typeof content === "string" ? new TextEncoder().encode(content) : content;
      await files.write(path, [...before, added]);
    },
    lock: async () => async () => {},
    startDevice: () => Promise.reject(new Error("no device here")),
    templates: directRunner,
    resolveModel: (base) => base,
    resolvePath: (path) => path,
    resolveData: (path) => path,
    now: () => (now += 250),
    memory: () => ({ peak: 0, limit: 1e9 }),
    versions: {},
    dispose: async () => {},
    ...more,
  };
}

import type { Files } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import { VERSION } from "./built.js";
import { type EnginePlace, startEngine } from "./engine.js";
import { lockFolder } from "./lock.js";
import { createTemplateRunner } from "./template-runner.js";

export interface BrowserPlatformOptions extends EnginePlace {
  readonly files: Files;
  /** Bytes that a run may take in all. Default: the device's memory, at most 4 GB. */
  readonly memoryLimit?: number | undefined;
}

/** What a tab is given at most: WebAssembly's heap ends there, and other tabs want memory too. */
const MOST_MEMORY = 4 * 2 ** 30;

/** A tab: files that the page was given, ONNX Runtime in one worker, chat templates in another. */
export function browserPlatform({ files, memoryLimit, ...place }: BrowserPlatformOptions): Platform {
  const templates = createTemplateRunner(place.worker);
  return {
    files,
    append: (path, content) => append(files, path, content),
    lock: (folder) => lockFolder(files, folder),
    startDevice: (choice) => startEngine(choice, files, place),
    templates,
    resolveModel: (base) => base,
    resolvePath: (path) => path,
    resolveData: (path) => path,
    now: () => Date.now(),
    memory: () => ({ peak: 0, limit: memoryLimit ?? memoryHere() }),
    versions: { lowrank: VERSION, browser: navigator.userAgent },
    dispose: async () => templates.dispose(),
  };
}

/** Browsers say at most so much, rounded, and some nothing. */
function memoryHere(): number {
  const { deviceMemory } = navigator as { deviceMemory?: number };
  return Math.min(MOST_MEMORY, (deviceMemory ?? 4) * 2 ** 30);
}

async function append(files: Files, path: string, content: string | Uint8Array): Promise<void> {
  const before = (await files.stat(path)) ? [await files.read(path, 2 ** 30)] : [];
  const added = typeof content === "string" ? new TextEncoder().encode(content) : content;
  await files.write(path, [...before, added]);
}

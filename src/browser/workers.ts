import type { Port } from "../runtime/index.js";
import { WORKER_SOURCE } from "./built.js";

/** The files of onnxruntime-web that each device needs, the one that is imported first. */
export const ENGINE_FILES = {
  cpu: ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
  webgpu: ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
} as const;

/** A device that a browser has. */
export type BrowserDevice = keyof typeof ENGINE_FILES;

/** What a worker is told first: what it is for. */
export type WorkerStart =
  | { readonly role: "templates" }
  | {
      readonly role: "engine";
      /** The folder of onnxruntime-web's files, absolute. */
      readonly engine: string;
      readonly provider: BrowserDevice;
      readonly threads: number;
      /** Answers what `readPart` asks: parts of files that the page can reach. */
      readonly files: MessagePort;
    };

/** What the engine's worker says once, when it is open or cannot be. */
export interface EngineOpened {
  readonly failure?: string;
  /** The failure says all there is to say: it is the user's to mend. */
  readonly user?: boolean;
}

let source: string | undefined;

/** Starts a worker of the package's own program: out of the text that is in this module, or from an address. */
export function startWorker(start: WorkerStart, address?: string | URL): Worker {
  source ??= URL.createObjectURL(new Blob([WORKER_SOURCE], { type: "text/javascript" }));
  const worker = new Worker(address ?? source, { type: "module", name: `lowrank ${start.role}` });
  worker.postMessage(start, start.role === "engine" ? [start.files] : []);
  return worker;
}

/** A worker as a port. Its end fails whatever is waited for. */
export function workerPort(worker: Worker): Port {
  let failed: ((error: Error) => void) | undefined;
  worker.addEventListener("error", ({ message }) => failed?.(new Error(message || "the engine's worker ended")));
  worker.addEventListener("messageerror", () => failed?.(new Error("a message of the engine's worker cannot be read")));
  return {
    post: (message, transfer) => worker.postMessage(message, [...transfer]),
    onMessage: (listener) => worker.addEventListener("message", ({ data }) => listener(data)),
    onFailure: (listener) => {
      failed = listener;
    },
    async close() {
      worker.terminate();
      failed?.(new Error("the engine's worker ended"));
    },
  };
}

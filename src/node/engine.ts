import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Provider } from "../onnx/index.js";
import { type Device, type Port, PortExecutor, QueueDevice } from "../runtime/index.js";

export interface EngineOptions {
  /** Default "cpu". */
  readonly provider?: Provider;
  /** Threads inside an operator. Default 0: one a physical core. */
  readonly threads?: number;
}

/** Starts an ONNX Runtime device in a worker thread of its own. Throws UserError when the provider cannot be loaded. */
export async function startEngine({ provider = "cpu", threads = 0 }: EngineOptions = {}): Promise<Device> {
  const worker = new Worker(workerFile("engine-worker.js"), { workerData: { provider, threads } });
  const device = new QueueDevice(new PortExecutor(nodePort(worker)), provider);
  await device.memory();
  return device;
}

/** A compiled file beside this one; when the sources run as they are (in tests), the one of the last build. */
export function workerFile(name: string): URL {
  const beside = new URL(name, import.meta.url);
  return existsSync(fileURLToPath(beside)) ? beside : new URL(`../../dist/node/${name}`, import.meta.url);
}

/** Wraps a worker as a port. It does not keep the process alive while nothing is waited for. */
function nodePort(worker: Worker): Port {
  let failed: ((error: Error) => void) | undefined;
  let waiting = 0;
  worker.on("error", (error) => failed?.(error instanceof Error ? error : new Error(String(error))));
  worker.on("exit", (code) => failed?.(new Error(`the engine's thread ended (exit code ${code})`)));
  return {
    post: (message, transfer) => {
      worker.postMessage(message, transfer as never);
      if (waiting++ === 0) worker.ref();
    },
    onMessage: (listener) =>
      worker.on("message", (message) => {
        if (--waiting === 0) worker.unref();
        listener(message);
      }),
    onFailure: (listener) => {
      failed = listener;
    },
    close: async () => {
      await worker.terminate();
    },
  };
}

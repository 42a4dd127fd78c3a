import process from "node:process";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { parentPort, workerData } from "node:worker_threads";
import { CommandExecutor, type Engine, hostMemory, type Ort, ortEngine, serve } from "../runtime/index.js";
import type { WorkerOptions } from "./engine.js";
import { importOrt } from "./ort-package.js";
import { readFile } from "./read-file.js";
import { trimHeap } from "./trim-heap.js";

const port = parentPort!;
const { provider, threads, ownThreads, openvino } = workerData as WorkerOptions;

/** Programs that bear bf16 go to OpenVINO, where its library is given, the others to ONNX Runtime: buffers are host memory. */
async function openEngines(): Promise<Engine> {
  const ort = await openOrt();
  if (!openvino) return ort;
  const { openvinoEngine } = await import("./openvino.js");
  const reduced = openvinoEngine({ library: openvino, threads, precision: "bf16" });
  const { loadsAhead } = reduced;
  return {
    loadsAhead,
    close: () => ort.close?.(),
    load: (model, backend, ...rest) => (backend === "openvino" ? reduced : ort).load(model, backend, ...rest),
  };
}

/** On the CPU the C library is the faster way in; where it cannot be loaded, and for other providers, the binding serves. */
async function openOrt(): Promise<Engine> {
  const { hasLibrary, nativeOrtEngine } = await import("./ort-library.js");
  if (provider === "cpu" && hasLibrary()) {
    try {
      return nativeOrtEngine(threads, { yields: openvino !== undefined, ownThreads });
    } catch (error) {
      if (process.env.LOWRANK_DEBUG) console.error("lowrank: ONNX Runtime's C library cannot be used:", error);
    }
  }
  return ortEngine((await importOrt()) as unknown as Ort, { provider, threads });
}

/** The garbage collector of this thread, whose heap is small; what it frees leaves the process. */
function collector(): () => void {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("globalThis.gc") as (() => void) | undefined; // not in Bun, which is no V8
  return () => {
    collect?.();
    trimHeap();
  };
}

const executor = new CommandExecutor(await openEngines(), hostMemory({ adopts: true }), {
  device: provider,
  processMemory: () => ({ resident: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 }),
  reclaim: collector(),
  readFile,
});
port.on(
  "message",
  serve(executor, (message, transfer) => port.postMessage(message, transfer as never)),
);

import process from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { type Ort, OrtExecutor, serve } from "../runtime/index.js";

const port = parentPort!;
const ort = (await import("onnxruntime-node")) as unknown as Ort & { default?: Ort };
const executor = new OrtExecutor(ort.default ?? ort, {
  ...workerData,
  processMemory: () => ({ resident: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 }),
});
port.on(
  "message",
  serve(executor, (message, transfer) => port.postMessage(message, transfer as never)),
);

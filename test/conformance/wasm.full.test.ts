import { describe } from "vitest";
import { type OrtWeb, wasmEngine } from "../../src/browser/web-engine.js";
import { CommandExecutor, hostMemory, QueueDevice } from "../../src/runtime/index.js";
import { conformance } from "./suite.js";

// What a tab computes with: ONNX Runtime's WebAssembly, which Node runs too. Its operators are those of the CPU.
async function wasmDevice() {
  const ort = (await import("onnxruntime-web")) as unknown as OrtWeb;
  Object.assign(ort.env.wasm, { numThreads: 1 });
  const executor = new CommandExecutor(wasmEngine(ort), hostMemory(), {
    device: "cpu",
    processMemory: () => ({ resident: 0, peak: 0 }),
  });
  return new QueueDevice(executor, "cpu");
}

describe("WebAssembly", () => conformance("cpu", { open: wasmDevice }));

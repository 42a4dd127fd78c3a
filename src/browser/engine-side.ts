import { CommandExecutor, type Executor, hostMemory, type Memory, serve } from "../runtime/index.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import { openGpu } from "./gpu/gpu.js";
import { gpuEngine } from "./gpu/gpu-engine.js";
import { gpuMemory } from "./gpu/gpu-memory.js";
import { type OrtWeb, wasmEngine } from "./web-engine.js";
import { ENGINE_FILES, type EngineOpened, type WorkerStart } from "./workers.js";

type EngineStart = WorkerStart & { role: "engine" };

/** A part of a file that the page is asked for. */
export interface PartRequest {
  readonly id: number;
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Its bytes, or why there are none. */
export type PartReply = { readonly id: number } & ({ readonly bytes: Uint8Array } | { readonly failure: string });

/** The engine's worker: opens ONNX Runtime, says so, and answers the page's commands from then on. */
export async function openEngine(start: EngineStart): Promise<void> {
  const opened = (answer: EngineOpened) => postMessage(answer);
  try {
    const executor = start.provider === "webgpu" ? await gpuExecutor(start) : await wasmExecutor(start);
    const answer = serve(executor, (message, transfer) => postMessage(message, { transfer: [...transfer] }));
    addEventListener("message", ({ data }) => void answer(data));
    opened({});
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    opened({ failure, user: error instanceof UserError });
  }
}

async function wasmExecutor(start: EngineStart): Promise<Executor> {
  const heap = watchHeap();
  const { memory, held } = countedMemory();
  return new CommandExecutor(wasmEngine(await importOrt(start)), memory, {
    device: start.provider,
    processMemory: () => ({ resident: heap() + held.bytes, peak: heap() + held.peak }),
    readFile: partReader(start.files),
  });
}

/** Everything that a run holds is in buffers of the GPU. */
async function gpuExecutor(start: EngineStart): Promise<Executor> {
  const heap = watchHeap();
  const gpu = await openGpu();
  const memory = gpuMemory(gpu);
  return new CommandExecutor(gpuEngine(await importOrt(start), gpu, memory), memory, {
    device: start.provider,
    processMemory: () => ({ resident: heap() + gpu.held.bytes, peak: heap() + gpu.held.peak }),
    readFile: partReader(start.files),
  });
}

/** onnxruntime-web out of the folder where the site has it. */
async function importOrt({ engine, provider, threads }: EngineStart): Promise<OrtWeb> {
  const address = new URL(ENGINE_FILES[provider][0], engine).href;
  const module = (await import(/* @vite-ignore */ /* webpackIgnore: true */ address)) as OrtWeb & { default?: OrtWeb };
  const ort = module.default ?? module;
  Object.assign(ort.env.wasm, { wasmPaths: engine, numThreads: threads, proxy: false });
  ort.env.logLevel = "error";
  return ort;
}

/** The size of WebAssembly's heap, which only grows: every memory that is made from now on. */
function watchHeap(): () => number {
  const made: WebAssembly.Memory[] = [];
  const { Memory } = WebAssembly;
  WebAssembly.Memory = new Proxy(Memory, {
    construct(target, args) {
      const memory = new target(...(args as [WebAssembly.MemoryDescriptor]));
      made.push(memory);
      return memory;
    },
  });
  return () => made.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
}

/** The host's memory, counted: bytes of buffers now, and their highest so far. */
function countedMemory() {
  const host = hostMemory({ adopts: true });
  const held = { bytes: 0, peak: 0 };
  const counted = (buffer: ArrayBuffer): ArrayBuffer => {
    held.bytes += buffer.byteLength;
    held.peak = Math.max(held.peak, held.bytes);
    return buffer;
  };
  const memory: Memory<ArrayBuffer, HostTensor> = {
    ...host,
    allocate: (bytes) => counted(host.allocate(bytes)),
    adopt: (data) => counted(data),
    free: (buffer) => {
      held.bytes -= buffer.byteLength;
    },
  };
  return { memory, held };
}

/** Parts of files by way of the page, which knows what was dropped into it. */
function partReader(port: MessagePort) {
  const waiting = new Map<number, (reply: PartReply) => void>();
  let asked = 0;
  port.onmessage = ({ data }: MessageEvent<PartReply>) => {
    waiting.get(data.id)?.(data);
    waiting.delete(data.id);
  };
  return async (path: string, offset: number, into: Uint8Array): Promise<void> => {
    const id = ++asked;
    const reply = await new Promise<PartReply>((resolve) => {
      waiting.set(id, resolve);
      port.postMessage({ id, path, offset, bytes: into.length } satisfies PartRequest);
    });
    if ("failure" in reply) throw new UserError(reply.failure);
    into.set(reply.bytes);
  };
}

import { type Engine, type EngineSession, type Memory, ORT_TYPES } from "../../runtime/index.js";
import { ARRAYS, bytesOf, sizeOf } from "../../tensor/index.js";
import { externalData, type OrtWeb, type OrtWebSession, type OrtWebTensor } from "../web-engine.js";
import type { Gpu } from "./gpu.js";
import type { GpuTensor } from "./gpu-memory.js";

type Tensors = Readonly<Record<string, GpuTensor>>;

/**
 * ONNX Runtime's WebGPU provider over buffers of the GPU: what a run reads and fills stays there. What the provider lacks, ONNX
 * Runtime computes in WebAssembly and carries over and back by itself.
 */
export function gpuEngine(ort: OrtWeb, gpu: Gpu, memory: Memory<GPUBuffer, GpuTensor>): Engine<GpuTensor> {
  return {
    copiesExternal: true,
    async load(model, _backend, external = {}) {
      const values: Record<string, Uint8Array> = {};
      for (const [name, { buffer, offset, dtype, shape }] of Object.entries(external))
        values[name] = await memory.read(buffer, offset, bytesOf(dtype, shape));
      const session = await gpu.finish(
        ort.InferenceSession.create(model, {
          executionProviders: [{ name: "webgpu", device: gpu.device }],
          ...externalData(values),
          enableMemPattern: false,
          enableCpuMemArena: false,
          logSeverityLevel: 3,
          graphOptimizationLevel: "all",
        }),
      );
      return gpuSession(ort, gpu, session);
    },
    close: () => gpu.dispose(),
  };
}

function gpuSession(ort: OrtWeb, gpu: Gpu, session: OrtWebSession): EngineSession<GpuTensor> {
  return {
    async run(feeds, fetches) {
      const parts = new Parts(ort, gpu);
      const [fed, filled] = [parts.of(feeds), parts.of(fetches)];
      parts.copyIn(feeds);
      await gpu.finish(session.run(fed, filled));
      parts.copyOut(fetches);
    },
    release: () => gpu.finish(session.release()).catch(() => {}), // a lost device has nothing left to release
  };
}

/**
 * The tensors of one run as ONNX Runtime takes them: it reads and fills buffers from their beginning, so a tensor that begins further on is
 * computed with in a buffer of its own, to which and from which the GPU copies it.
 */
class Parts {
  private readonly ort: OrtWeb;
  private readonly gpu: Gpu;
  private readonly borrowed = new Map<GpuTensor, GPUBuffer>();

  constructor(ort: OrtWeb, gpu: Gpu) {
    this.ort = ort;
    this.gpu = gpu;
  }

  of(tensors: Tensors): Record<string, OrtWebTensor> {
    return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, this.tensor(tensor)]));
  }

  copyIn(feeds: Tensors): void {
    this.copy(feeds, (encoder, { buffer, offset }, own, bytes) =>
      encoder.copyBufferToBuffer(buffer, offset, own, 0, bytes),
    );
  }

  /** The buffers that were borrowed are free again, once the GPU has copied what is in them. */
  copyOut(fetches: Tensors): void {
    this.copy(fetches, (encoder, { buffer, offset }, own, bytes) =>
      encoder.copyBufferToBuffer(own, 0, buffer, offset, bytes),
    );
    for (const buffer of this.borrowed.values()) this.gpu.giveBack(buffer);
  }

  private tensor(tensor: GpuTensor): OrtWebTensor {
    const { buffer, offset, dtype, shape } = tensor;
    const [dataType, bytes] = [ORT_TYPES[dtype]!, bytesOf(dtype, shape)];
    if (sizeOf(shape) === 0) return new this.ort.Tensor(dataType, new ARRAYS[dtype](0), shape);
    if (offset === 0) return this.ort.Tensor.fromGpuBuffer(buffer, { dataType, dims: shape });
    if (bytes % 4 !== 0) throw new Error(`${dtype}[${shape}] at byte ${offset} cannot be copied on a GPU`);
    const own = this.gpu.borrow(bytes);
    this.borrowed.set(tensor, own);
    return this.ort.Tensor.fromGpuBuffer(own, { dataType, dims: shape });
  }

  private copy(
    tensors: Tensors,
    each: (encoder: GPUCommandEncoder, tensor: GpuTensor, own: GPUBuffer, bytes: number) => void,
  ): void {
    const moved = Object.values(tensors).filter((tensor) => this.borrowed.has(tensor));
    if (moved.length === 0) return;
    this.gpu.copies((encoder) => {
      for (const tensor of moved)
        each(encoder, tensor, this.borrowed.get(tensor)!, bytesOf(tensor.dtype, tensor.shape));
    });
  }
}

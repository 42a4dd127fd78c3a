import { type Engine, ORT_TYPES } from "../runtime/index.js";
import type { HostTensor } from "../tensor/index.js";

/** The part of onnxruntime-web that is used. */
export interface OrtWeb {
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<OrtWebSession>;
  };
  readonly Tensor: {
    new (type: string, data: unknown, dims: readonly number[]): OrtWebTensor;
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: string; dims: readonly number[] }): OrtWebTensor;
  };
  readonly env: { readonly wasm: Record<string, unknown>; logLevel?: string };
}

export interface OrtWebTensor {
  readonly data: ArrayBufferView;
}

export interface OrtWebSession {
  /** `fetches`: names of results, or tensors in which they are wanted. */
  run(
    feeds: Record<string, OrtWebTensor>,
    fetches: readonly string[] | Record<string, OrtWebTensor>,
  ): Promise<Record<string, OrtWebTensor>>;
  release(): Promise<void>;
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => new Uint8Array(buffer, byteOffset, byteLength);

/** The option of a session that has the values of external initializers, by name; none where there are none. */
export function externalData(values: Readonly<Record<string, Uint8Array>>): Record<string, unknown> {
  const entries = Object.entries(values).map(([path, data]) => ({ path, data }));
  return entries.length > 0 ? { externalData: entries } : {};
}

/**
 * ONNX Runtime in WebAssembly. Its heap holds what a run computes with and no more: inputs are copied in and results out, while
 * weights and activations stay in this thread's own memory, which may be larger than WebAssembly's 4 GB. It fills no tensors that are
 * given for results (onnxruntime-web 1.30), so they are copied.
 */
export function wasmEngine(ort: OrtWeb): Engine {
  const tensor = ({ dtype, data, shape }: HostTensor) => new ort.Tensor(ORT_TYPES[dtype]!, data, shape);
  return {
    copiesExternal: true,
    async load(model, _backend, external = {}) {
      const values = Object.fromEntries(Object.entries(external).map(([name, { data }]) => [name, bytesOf(data)]));
      const session = await ort.InferenceSession.create(model, {
        executionProviders: ["wasm"],
        ...externalData(values),
        enableMemPattern: false,
        enableCpuMemArena: false,
        logSeverityLevel: 3,
        graphOptimizationLevel: "all",
      });
      return {
        async run(feeds, fetches) {
          const fed = Object.fromEntries(Object.entries(feeds).map(([name, given]) => [name, tensor(given)]));
          const results = await session.run(fed, Object.keys(fetches));
          for (const [name, { data }] of Object.entries(fetches)) bytesOf(data).set(bytesOf(results[name]!.data));
        },
        release: () => session.release(),
      };
    },
  };
}

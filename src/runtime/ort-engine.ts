import type { Provider } from "../onnx/index.js";
import { asBytes, type HostTensor } from "../tensor/index.js";
import { type Engine, written } from "./engine.js";

/** The part of onnxruntime-common's API that is used; onnxruntime-node and onnxruntime-web both fit. */
export interface Ort {
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<OrtSession>;
  };
  readonly Tensor: new (type: string, data: unknown, dims: readonly number[]) => unknown;
}

interface OrtSession {
  run(feeds: Record<string, unknown>, fetches: Record<string, unknown>): Promise<unknown>;
  release(): Promise<void>;
}

/** ONNX Runtime's names of our types, in Node and in a browser. */
export const ORT_TYPES: Readonly<Record<string, string>> = {
  f32: "float32",
  f64: "float64",
  f16: "float16",
  i64: "int64",
  i32: "int32",
  i8: "int8",
  u8: "uint8",
  bool: "bool",
};

/**
 * ONNX Runtime through its JavaScript binding: every provider, and the web. `threads` 0: the engine's own choice. Each
 * session has its own threads, so they stop spinning between runs, and no arena, so that many sessions share the heap.
 */
export function ortEngine(ort: Ort, { provider, threads }: { provider: Provider; threads: number }): Engine {
  const tensors = (from: Readonly<Record<string, HostTensor>>) =>
    Object.fromEntries(
      Object.entries(from).map(([name, t]) => [name, new ort.Tensor(ORT_TYPES[t.dtype]!, t.data, t.shape)]),
    );
  return {
    copiesExternal: true,
    async load(model, _backend, external = {}, updates = []) {
      const externalData = Object.entries(external).map(([path, { data }]) => ({
        path,
        data: asBytes(data),
      }));
      const session = await ort.InferenceSession.create(model, {
        executionProviders: [provider],
        ...(externalData.length > 0 ? { externalData } : {}),
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        enableMemPattern: false,
        enableCpuMemArena: false,
        extra: { session: { force_spinning_stop: "1" } },
        logSeverityLevel: 3,
        graphOptimizationLevel: "all",
      });
      return {
        run: async (feeds, fetches) =>
          void (await session.run(tensors(feeds), tensors(written(feeds, fetches, updates)))),
        release: () => session.release(),
      };
    },
  };
}

import { type Fn, interpret, type Reference } from "../../src/graph/index.js";
import { nativeOrtEngine } from "../../src/node/ort-library.js";
import type { Backend, Provider } from "../../src/onnx/index.js";
import {
  CommandExecutor,
  type Device,
  type Engine,
  hostMemory,
  type Ort,
  ortEngine,
  QueueDevice,
  tensor,
} from "../../src/runtime/index.js";
import { ARRAYS, type DType, type HostTensor, type TypedArray } from "../../src/tensor/index.js";

/** Named tensors that went in or came out. */
export type Tensors = Readonly<Record<string, HostTensor>>;
/** Evaluates a function once. */
export type Evaluate = (f: Fn, inputs: Tensors) => Promise<Tensors>;

/** The C library is opened once, for all devices: none of them closes it. */
let native: Engine | undefined;

function sharedNative(threads: number): Engine {
  if (!native) {
    const { load } = nativeOrtEngine(threads);
    native = { load };
  }
  return native;
}

/** A device in this thread: through ONNX Runtime's JavaScript binding, or its C library ("native"). */
export async function deviceHere(backend: Provider | "native", threads = 2): Promise<Device> {
  const provider = backend === "native" ? "cpu" : backend;
  return deviceOver(await engineHere(backend, threads), provider, backend);
}

export async function engineHere(backend: Provider | "native", threads = 2): Promise<Engine> {
  if (backend === "native") return sharedNative(threads);
  return ortEngine(await binding(), { provider: backend, threads });
}

/** The JavaScript binding with programs that were lowered for the C library: where that is there but cannot be loaded. */
export async function bindingForNative(): Promise<Device> {
  return deviceOver(ortEngine(await binding(), { provider: "cpu", threads: 2 }), "cpu", "native");
}

function deviceOver(engine: Engine, provider: Provider, full: Backend): Device {
  const processMemory = () => ({ resident: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 });
  return new QueueDevice(new CommandExecutor(engine, hostMemory(), { device: provider, processMemory }), provider, {
    full,
  });
}

async function binding(): Promise<Ort> {
  const module = (await import("onnxruntime-node")) as unknown as Ort & { default?: Ort };
  return module.default ?? module;
}

/** Evaluates on a device and leaves nothing behind on it. */
export function onDevice(device: Device): Evaluate {
  return async (f, inputs) => {
    const program = device.compile(f);
    const fed = program.inputs.map((name) => {
      const { dtype, shape, data } = inputs[name]!;
      const view = tensor(device, dtype, shape);
      device.upload(view, data.slice());
      return [name, view] as const;
    });
    const made = program.outputs.map(
      (name) => [name, tensor(device, f.outputs[name]!.dtype, f.outputs[name]!.shape)] as const,
    );
    device.run(program, Object.fromEntries(fed), Object.fromEntries(made));
    const results: Record<string, HostTensor> = {};
    for (const [name, view] of made) {
      results[name] = { dtype: view.dtype, shape: view.shape, data: await device.download(view) };
    }
    for (const [, view] of [...fed, ...made]) device.free(view.buffer);
    device.release(program);
    return results;
  };
}

/** Evaluates in float64 and hands results on in their own dtype, as an engine would. */
export const inFloat64: Evaluate = async (f, inputs) => {
  const results = interpret(f, inputs);
  return Object.fromEntries(Object.entries(results).map(([name, r]) => [name, host(r, f.outputs[name]!.dtype)]));
};

/** A float64 result as a tensor of another dtype. */
function host({ shape, data }: Reference, dtype: DType): HostTensor {
  if (dtype === "f32") return { dtype, shape, data: Float32Array.from(data) };
  if (dtype === "i64") return { dtype, shape, data: BigInt64Array.from(data, (x) => BigInt(x)) };
  return { dtype, shape, data: new ARRAYS[dtype](data as never) as TypedArray };
}

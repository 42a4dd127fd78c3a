// The two ways a graph is evaluated in the comparisons: the float64 interpreter, and fp32 on ONNX Runtime in this thread.
import { type Fn, interpret, topological } from "../../src/graph/index.js";
import { type Device, tensor, type View } from "../../src/runtime/index.js";
import type { HostTensor, TypedArray } from "../../src/tensor/index.js";
import { deviceHere } from "../conformance/run.js";

export type Evaluate = (
  f: Fn,
  inputs: ReadonlyMap<string, HostTensor>,
) => Promise<ReadonlyMap<string, ArrayLike<number>>>;

export const inFloat64: Evaluate = async (f, inputs) =>
  new Map(Object.entries(interpret(f, Object.fromEntries(inputs))).map(([name, { data }]) => [name, data]));

export const cpuDevice = (): Promise<Device> => deviceHere("cpu", 1);

export const onCpu: Evaluate = async (f, inputs) => {
  const device = await cpuDevice();
  try {
    const program = device.compile(f);
    const used = new Set(topological(Object.values(f.outputs)));
    const given: Record<string, View> = {};
    for (const [name, v] of Object.entries(f.inputs)) {
      if (!used.has(v)) continue;
      given[name] = tensor(device, v.dtype, v.shape);
      device.upload(given[name], inputs.get(name)!.data.slice() as TypedArray);
    }
    const results = Object.entries(f.outputs).map(([name, v]) => [name, tensor(device, v.dtype, v.shape)] as const);
    device.run(program, given, Object.fromEntries(results));
    const read = new Map<string, ArrayLike<number>>();
    for (const [name, where] of results) read.set(name, (await device.download(where)) as Float32Array);
    return read;
  } finally {
    await device.dispose();
  }
};

import { openvinoEngine } from "../../src/node/openvino.js";
import { findOpenvino } from "../../src/node/openvino-library.js";
import {
  CommandExecutor,
  type Device,
  encodedBytes,
  encodedView,
  hostMemory,
  type Ort,
  ortEngine,
  QueueDevice,
  tensor,
  type View,
} from "../../src/runtime/index.js";
import { bf16ToF32, f32, f32ToBf16, type HostTensor } from "../../src/tensor/index.js";
import { encodeStored } from "../../src/weights/base-precision.js";

// What tests of precision: bf16 have in common. They need OpenVINO and are skipped where it is not.
export const library = findOpenvino();
if (!library) console.log("OpenVINO was not found on this machine: its tests are skipped (pip install openvino)");

/** As `startEngine` with precision bf16 makes it, in this thread. */
export async function reducedDevice(): Promise<Device> {
  const ort = (await import("onnxruntime-node")) as unknown as Ort & { default?: Ort };
  const full = ortEngine(ort.default ?? ort, { provider: "cpu", threads: 1 });
  const reduced = openvinoEngine({ library: library!, threads: 1, precision: "bf16" });
  const engine: typeof full = {
    load: (model, backend, ...rest) => (backend === "openvino" ? reduced : full).load(model, backend, ...rest),
  };
  const processMemory = () => ({ resident: 0, peak: 0 });
  return new QueueDevice(new CommandExecutor(engine, hostMemory(), { device: "cpu", processMemory }), "cpu", {
    reduced: "openvino",
  });
}

/** Matrices are held as bfloat16, as the loader does. */
export function uploadHalves(device: Device, weights: ReadonlyMap<string, HostTensor>): Map<string, View> {
  const views = new Map<string, View>();
  for (const [name, { shape, data }] of weights) {
    const values = data.slice() as Float32Array;
    const matrix = shape.length > 1;
    const view = matrix
      ? encodedView(device.allocate(encodedBytes("bf16", shape)), "bf16", shape)
      : tensor(device, "f32", shape);
    device.upload(view, matrix ? encodeStored(name, "bf16", values) : values);
    views.set(name, view);
  }
  return views;
}

/** A matrix as bfloat16 holds it. */
export const rounded = (tensor: HostTensor): HostTensor =>
  tensor.shape.length > 1 ? f32(tensor.shape, bf16ToF32(f32ToBf16(tensor.data as Float32Array))) : tensor;

/** Sums over all tensors: how alike two gradients are in direction, and how long the first is of the second. */
export function likeness(
  found: ReadonlyMap<string, ArrayLike<number>>,
  expected: ReadonlyMap<string, ArrayLike<number>>,
) {
  let [dot, a, b] = [0, 0, 0];
  for (const [name, values] of expected) {
    const other = found.get(name)!;
    for (let i = 0; i < values.length; i++) {
      dot += values[i]! * other[i]!;
      a += other[i]! ** 2;
      b += values[i]! ** 2;
    }
  }
  return { cosine: dot / Math.sqrt(a * b), norm: Math.sqrt(a / b) };
}

import { type Device, tensor, type View, view } from "../runtime/index.js";
import { BYTES, type HostTensor, type Shape, sizeOf, UserError } from "../tensor/index.js";
import { ROW } from "./flat.js";

/** Where one trainable tensor lies in the flat vectors. */
export interface Slot {
  readonly name: string;
  readonly shape: Shape;
  /** In elements. */
  readonly offset: number;
}

/** The order of all trainable tensors in one flat fp32 vector, padded to whole rows. */
export interface Layout {
  readonly slots: ReadonlyMap<string, Slot>;
  /** Trainable elements. */
  readonly elements: number;
  /** Elements with padding: the length of each flat vector. */
  readonly length: number;
}

/** Lays trainable tensors end to end in the given order. */
export function layoutOf(shapes: ReadonlyMap<string, Shape>): Layout {
  const slots = new Map<string, Slot>();
  let offset = 0;
  for (const [name, shape] of shapes) {
    slots.set(name, { name, shape, offset });
    offset += sizeOf(shape);
  }
  return { slots, elements: offset, length: Math.max(1, Math.ceil(offset / ROW)) * ROW };
}

/** A flat vector on a device with a view of every trainable tensor in it. */
export interface FlatVector {
  readonly all: View;
  readonly views: ReadonlyMap<string, View>;
}

/** Allocates a zero-filled flat vector. */
export function flatVector(device: Device, layout: Layout): FlatVector {
  const all = tensor(device, "f32", [layout.length]);
  const views = new Map<string, View>();
  for (const { name, shape, offset } of layout.slots.values())
    views.set(name, view(all.buffer, "f32", shape, offset * BYTES.f32));
  return { all, views };
}

/** Reads a flat vector back as named tensors. */
export async function downloadAll(
  device: Device,
  layout: Layout,
  vector: FlatVector,
): Promise<Map<string, HostTensor>> {
  const data = (await device.download(vector.all)) as Float32Array;
  const tensors = new Map<string, HostTensor>();
  for (const { name, shape, offset } of layout.slots.values()) {
    tensors.set(name, { dtype: "f32", shape, data: data.slice(offset, offset + sizeOf(shape)) });
  }
  return tensors;
}

/** Writes named tensors into a flat vector. Throws UserError when one is missing or has another size. */
export function uploadAll(
  device: Device,
  layout: Layout,
  vector: FlatVector,
  tensors: ReadonlyMap<string, HostTensor>,
): void {
  for (const { name, shape } of layout.slots.values()) {
    const given = tensors.get(name);
    if (given?.data.length !== sizeOf(shape)) {
      throw new UserError(`'${name}' needs a tensor [${shape}], got ${given ? `[${given.shape}]` : "none"}`);
    }
    device.upload(vector.views.get(name)!, (given.data as Float32Array).slice());
  }
}

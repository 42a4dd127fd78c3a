import { type Device, tensor, type View, view } from "../runtime/index.js";
import { BYTES, type HostTensor, type Shape, sizeOf, UserError } from "../tensor/index.js";
import { ROW } from "./flat.js";
import type { Optimizer } from "./optimizers/optimizer.js";

/** Where one trainable tensor lies in the flat vectors. */
export interface Slot {
  readonly name: string;
  readonly shape: Shape;
  /** In elements. */
  readonly offset: number;
}

/** How a tensor moves. */
export interface Movement {
  /** Multiple of the learning rate. */
  readonly rate: number;
  /** Weight decay is for it too. */
  readonly decays: boolean;
}

/** Tensors that lie together, padded to whole rows, as they move alike. */
export interface Group extends Movement {
  /** In elements, with padding. */
  readonly offset: number;
  readonly length: number;
}

/** The order of all trainable tensors in one flat fp32 vector. */
export interface Layout {
  readonly slots: ReadonlyMap<string, Slot>;
  readonly groups: readonly Group[];
  /** Trainable elements. */
  readonly elements: number;
  /** Elements with padding: the length of each flat vector. */
  readonly length: number;
}

export type MovementOf = (name: string, shape: Shape) => Movement;

const keyOf = ({ rate, decays }: Movement) => `${rate} ${decays}`;

/** Lays trainable tensors end to end, those that move alike together, else in the given order. Default: all move alike. */
export function layoutOf(
  shapes: ReadonlyMap<string, Shape>,
  movementOf: MovementOf = () => ({ rate: 1, decays: true }),
): Layout {
  const slots = new Map<string, Slot>();
  const groups: Group[] = [];
  let [elements, end] = [0, 0];
  const movements = new Map(
    [...shapes].map(([name, shape]) => [keyOf(movementOf(name, shape)), movementOf(name, shape)]),
  );
  for (const [key, { rate, decays }] of movements) {
    const start = end;
    for (const [name, shape] of shapes) {
      if (keyOf(movementOf(name, shape)) !== key) continue;
      slots.set(name, { name, shape, offset: end });
      end += sizeOf(shape);
    }
    elements += end - start;
    end = start + Math.ceil((end - start) / ROW) * ROW;
    groups.push({ rate, decays, offset: start, length: end - start });
  }
  return { slots, groups, elements, length: Math.max(ROW, end) };
}

/** How what an optimiser keeps lies, by its names: of each tensor what `slots` says, in the order and groups of the tensors. */
export function slotLayouts({ slots, groups }: Layout, optimizer: Pick<Optimizer, "slots">): Map<string, Layout> {
  const shapes = new Map<string, Map<string, Shape>>();
  for (const { name, shape } of slots.values())
    for (const [slot, own] of Object.entries(optimizer.slots(shape)))
      shapes.set(slot, (shapes.get(slot) ?? new Map<string, Shape>()).set(name, own));
  const movementOf = (name: string) => groupAt(groups, slots.get(name)!.offset);
  return new Map([...shapes].map(([slot, own]) => [slot, layoutOf(own, movementOf)]));
}

/** The group in which an offset lies. */
export const groupAt = (groups: readonly Group[], offset: number): Group =>
  groups.findLast((group) => group.offset <= offset)!;

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

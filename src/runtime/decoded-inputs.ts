import { BYTES, sizeOf } from "../tensor/index.js";
import { allocate } from "./allocate.js";
import type { View } from "./device.js";

/** Memory that the inputs of one name are decoded to. */
interface Slot {
  data: Float32Array;
  /** What it holds decoded. */
  holds: View | undefined;
  /** The programs with an input of that name; it goes with the last. */
  readonly programs: Set<number>;
}

const sameView = (a: View | undefined, b: View): boolean => a?.buffer.id === b.buffer.id && a.offset === b.offset;

/**
 * The encoded inputs of runs, decoded: one place an input name, so that the blocks of a model, which one program serves, take
 * turns in it. What a place holds already, for a backward after its forward say, is not decoded again.
 */
export class DecodedInputs {
  private readonly slots = new Map<string, Slot>();
  /** What each encoded input of the present run reads: a tensor that is two inputs is decoded once. */
  private readonly reads = new Map<string, Slot>();

  get bytes(): number {
    let sum = 0;
    for (const { data } of this.slots.values()) sum += data.byteLength;
    return sum;
  }

  /** Decodes what a run's inputs need; a promise where something must be read first. */
  prepare(
    program: number,
    inputs: Readonly<Record<string, View>>,
    decode: (view: View, target: Float32Array) => Promise<void> | undefined,
  ): Promise<void> | undefined {
    let waiting: Promise<void> | undefined;
    this.reads.clear();
    for (const name in inputs) {
      const view = inputs[name]!;
      if (!view.codec) continue;
      const slot = this.sharedSlot(view) ?? this.slot(name, sizeOf(view.shape));
      this.reads.set(name, slot);
      slot.programs.add(program);
      if (sameView(slot.holds, view)) continue;
      slot.holds = view;
      const { data } = slot;
      if (waiting) waiting = waiting.then(() => decode(view, data));
      else waiting = decode(view, data);
    }
    return waiting;
  }

  /** The decoded values of an input of the run that was prepared last. */
  get(name: string): Float32Array {
    return this.reads.get(name)!.data;
  }

  has(view: View): boolean {
    for (const { holds } of this.slots.values()) if (sameView(holds, view)) return true;
    return false;
  }

  /** The buffer of `view` has other contents now. */
  forget({ buffer }: View): void {
    for (const slot of this.slots.values()) if (slot.holds?.buffer.id === buffer.id) slot.holds = undefined;
  }

  /** Frees what only this program needed; returns how many bytes. */
  release(program: number): number {
    let freed = 0;
    for (const [name, { programs, data }] of this.slots) {
      if (!programs.delete(program) || programs.size > 0) continue;
      this.slots.delete(name);
      freed += data.byteLength;
    }
    return freed;
  }

  clear(): void {
    this.slots.clear();
    this.reads.clear();
  }

  private sharedSlot(view: View): Slot | undefined {
    for (const slot of this.reads.values()) if (sameView(slot.holds, view)) return slot;
    return undefined;
  }

  private slot(name: string, size: number): Slot {
    const known = this.slots.get(name);
    if (known?.data.length === size) return known;
    const data = new Float32Array(allocate(size * BYTES.f32), 0, size);
    const slot: Slot = { data, holds: undefined, programs: known?.programs ?? new Set() };
    this.slots.set(name, slot);
    return slot;
  }
}

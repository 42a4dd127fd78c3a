import { BYTES, sizeOf } from "../tensor/index.js";
import { type Soon, whenThere } from "./buffers.js";
import type { View } from "./device.js";
import type { Memory } from "./memory.js";

/** Memory that the inputs of one name are decoded to. */
interface Slot<M> {
  readonly memory: M;
  readonly size: number;
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
export class DecodedInputs<M, T> {
  private readonly memory: Memory<M, T>;
  private readonly slots = new Map<string, Slot<M>>();
  /** What each encoded input of the present run reads: a tensor that is two inputs is decoded once. */
  private readonly reads = new Map<string, Slot<M>>();

  constructor(memory: Memory<M, T>) {
    this.memory = memory;
  }

  get bytes(): number {
    let sum = 0;
    for (const { size } of this.slots.values()) sum += size * BYTES.f32;
    return sum;
  }

  /** Decodes what a run's inputs need; a promise where something must be waited for. */
  prepare(
    program: number,
    inputs: Readonly<Record<string, View>>,
    decode: (view: View, into: M) => Soon<void>,
  ): Soon<void> {
    let waiting: Soon<void> | undefined;
    this.reads.clear();
    for (const name in inputs) {
      const view = inputs[name]!;
      if (!view.codec) continue;
      const slot = this.sharedSlot(view) ?? this.slot(name, sizeOf(view.shape));
      this.reads.set(name, slot);
      slot.programs.add(program);
      if (sameView(slot.holds, view)) continue;
      slot.holds = view;
      waiting = whenThere(waiting, () => decode(view, slot.memory));
    }
    return waiting;
  }

  /** The decoded values of an input of the run that was prepared last. */
  tensor(name: string, { shape }: View): T {
    return this.memory.tensor(this.reads.get(name)!.memory, { dtype: "f32", shape, offset: 0 });
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
    for (const [name, slot] of this.slots) {
      if (!slot.programs.delete(program) || slot.programs.size > 0) continue;
      this.slots.delete(name);
      freed += this.free(slot);
    }
    return freed;
  }

  clear(): void {
    for (const slot of this.slots.values()) this.free(slot);
    this.slots.clear();
    this.reads.clear();
  }

  private free({ memory, size }: Slot<M>): number {
    this.memory.free?.(memory);
    return size * BYTES.f32;
  }

  private sharedSlot(view: View): Slot<M> | undefined {
    for (const slot of this.reads.values()) if (sameView(slot.holds, view)) return slot;
    return undefined;
  }

  private slot(name: string, size: number): Slot<M> {
    const known = this.slots.get(name);
    if (known?.size === size) return known;
    if (known) this.free(known);
    const memory = this.memory.allocate(size * BYTES.f32);
    const slot: Slot<M> = { memory, size, holds: undefined, programs: known?.programs ?? new Set() };
    this.slots.set(name, slot);
    return slot;
  }
}

import type { LlamaConfig } from "../models/index.js";
import { type Device, reshaped, type View, view } from "../runtime/index.js";
import { bytesOf, type DType, type Shape } from "../tensor/index.js";

/** Named tensors of one block that the backward reads: v, o and what the programs save. */
export type Slots = Map<string, View>;

/** A buffer that has to grow grows by half: what no batch touches of it takes no memory. */
const GROWTH = 1.5;

/**
 * The buffers between the programs of a step, sized for the largest micro-batch so far and reused: residual streams, one
 * set of saved slots a layer (with checkpointing, one set for all), and gradients in flight.
 */
export class Activations {
  private readonly device: Device;
  private readonly config: LlamaConfig;
  private readonly checkpointing: boolean;
  private readonly lowest: number;
  private readonly owned = new Map<string, View>();
  bytes = 0;

  /** `lowest`: the first layer whose activations the backward needs. */
  constructor(device: Device, config: LlamaConfig, options: { checkpointing: boolean; lowest: number }) {
    this.device = device;
    this.config = config;
    this.checkpointing = options.checkpointing;
    this.lowest = options.lowest;
  }

  /** The input of block `layer` (of the head for `layer` = number of blocks), [n, D]. Frozen blocks below share two. */
  stream(layer: number, n: number, keep: boolean): View {
    const kept = keep && layer >= this.lowest;
    return this.named(kept ? `x${layer}` : `x even/odd ${layer % 2}`, [n, this.config.hiddenSize]);
  }

  /** A slot of a block; shared by all blocks when nothing is kept or the forward runs again before the backward. */
  slot(layer: number, name: string, shape: Shape, dtype: DType, keep: boolean): View {
    const own = keep && !this.checkpointing && layer >= this.lowest;
    return this.named(`${own ? layer : "shared"} ${name}`, shape, dtype);
  }

  scratch(name: string, shape: Shape, dtype: DType = "f32"): View {
    return this.named(`scratch ${name}`, shape, dtype);
  }

  private named(name: string, shape: Shape, dtype: DType = "f32"): View {
    const known = this.owned.get(name);
    if (known && known.buffer.bytes >= bytesOf(dtype, shape)) return reshaped(known, shape);
    if (known) {
      this.device.free(known.buffer);
      this.bytes -= known.buffer.bytes;
    }
    const room = known
      ? Math.max(bytesOf(dtype, shape), Math.ceil(GROWTH * known.buffer.bytes))
      : bytesOf(dtype, shape);
    const made = view(this.device.allocate(room), dtype, shape);
    this.owned.set(name, made);
    this.bytes += made.buffer.bytes;
    return made;
  }

  dispose(): void {
    for (const v of this.owned.values()) this.device.free(v.buffer);
    this.owned.clear();
    this.bytes = 0;
  }
}

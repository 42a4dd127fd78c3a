import type { ModelConfig } from "../models/index.js";
import { type Device, reshaped, type View, view } from "../runtime/index.js";
import { bytesOf, type DType, type Shape } from "../tensor/index.js";

/** A buffer that has to grow grows by half: what no batch touches of it takes no memory. */
const GROWTH = 1.5;

/** Rows of the buffers of a micro-batch: its tokens, and as many as its attention reaches. */
interface Rows {
  readonly padded: number;
  readonly extent: number;
}

/**
 * The buffers between the programs of a step, sized for the largest micro-batch known of and reused: residual streams, one
 * set of saved slots a layer (with checkpointing, one set for all), and gradients in flight.
 */
export class Activations {
  private readonly device: Device;
  private readonly config: ModelConfig;
  private readonly checkpointing: boolean;
  private readonly lowest: number;
  private readonly largest: number;
  private readonly owned = new Map<string, View>();
  private rows: Rows = { padded: 0, extent: 0 };
  bytes = 0;

  /**
   * `lowest`: the first layer whose activations the backward needs. `largest`: the most rows that will be asked for, as far as
   * that is known; for more, buffers are made anew, which costs half a step.
   */
  constructor(
    device: Device,
    config: ModelConfig,
    options: { checkpointing: boolean; lowest: number; largest?: number },
  ) {
    this.device = device;
    this.config = config;
    this.checkpointing = options.checkpointing;
    this.lowest = options.lowest;
    this.largest = options.largest ?? 0;
  }

  /** What is asked for from now on belongs to a micro-batch of so many rows. */
  begin(rows: Rows): void {
    this.rows = rows;
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
    const least = bytesOf(dtype, this.atMost(shape));
    const room = known ? Math.max(least, Math.ceil(GROWTH * known.buffer.bytes)) : least;
    const made = view(this.device.allocate(room), dtype, shape);
    this.owned.set(name, made);
    this.bytes += made.buffer.bytes;
    return made;
  }

  /** The shape with the rows of the largest micro-batch. */
  private atMost(shape: Shape): Shape {
    const [rows, ...rest] = shape as [number, ...number[]];
    const ofBatch = rows === this.rows.padded || rows === this.rows.extent;
    return ofBatch ? [Math.max(rows, this.largest), ...rest] : shape;
  }

  dispose(): void {
    for (const v of this.owned.values()) this.device.free(v.buffer);
    this.owned.clear();
    this.bytes = 0;
  }
}

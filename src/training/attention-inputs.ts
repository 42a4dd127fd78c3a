import { causalMask, MASKED } from "../graph/index.js";
import { lengthClass, type ModelConfig, type RopeName, ropeTables } from "../models/index.js";
import { type Device, rowsOf, tensor, type View } from "../runtime/index.js";
import { f32, type HostTensor } from "../tensor/index.js";
import { Lru } from "../tensor/lru.js";
import type { Segment } from "./batch-layout.js";

/** Bytes of masks kept: the least recently used go first. */
const MASK_BUDGET = 64 * 2 ** 20;

/** cos and sin [positions, rotaryDim/2] of one set of rotary frequencies. */
type Tables = Readonly<Record<"cos" | "sin", View>>;

/** What attention reads beside queries, keys and values, on the device, shared by every batch and layer. */
export class AttentionInputs {
  private readonly device: Device;
  private readonly config: ModelConfig;
  /** Made for so many positions. */
  private length = 0;
  private readonly tables = new Map<string, Tables>();
  private valid: View | undefined;
  private readonly masks: Lru<string, View>;

  constructor(device: Device, config: ModelConfig) {
    this.device = device;
    this.config = config;
    this.masks = new Lru(MASK_BUDGET, {
      sizeOf: ({ buffer }) => buffer.bytes,
      drop: ({ buffer }) => device.free(buffer),
    });
  }

  /** cos, sin [t, rotaryDim/2] of positions 0 ... t - 1 in a text of t tokens. */
  rotation(rope: RopeName, t: number): Tables {
    this.reach(t);
    const key = `${rope} ${lengthClass(this.config, t)}`;
    let made = this.tables.get(key);
    if (!made) {
      const { cos, sin } = ropeTables(this.config, this.length, { rope, total: t });
      made = { cos: this.uploaded(cos), sin: this.uploaded(sin) };
      this.tables.set(key, made);
    }
    return { cos: rowsOf(made.cos, 0, t), sin: rowsOf(made.sin, 0, t) };
  }

  /** For the attention of a segment's span of t rows: mask [t, t], and valid [t, 1, 1], which is 1 for its own rows, 0 behind. */
  get({ span: t, length, shared }: Segment, window?: number): { mask: View; valid: View } {
    this.reach(t);
    return { mask: this.mask(t, shared, window), valid: rowsOf(this.valid!, this.length - length, t) };
  }

  /** Makes ready for texts of up to t tokens: what was made for shorter ones goes. */
  reach(t: number): void {
    if (this.length >= t) return;
    this.freeTables();
    this.length = 2 ** Math.ceil(Math.log2(Math.max(t, 256)));
    this.valid = this.uploaded(f32([2 * this.length, 1, 1], new Float32Array(2 * this.length).fill(1, 0, this.length)));
  }

  private uploaded({ shape, data }: HostTensor): View {
    const made = tensor(this.device, "f32", shape);
    this.device.upload(made, data);
    return made;
  }

  private mask(t: number, shared: Segment["shared"], window = 0): View {
    const hides = window > 0 && window < t ? window : 0;
    const key = `${t} ${hides} ${shared ? `${shared.prefix} ${shared.parts.join(" ")}` : ""}`;
    const apart = (mask: Float32Array) => {
      const { prefix, parts } = shared ?? { prefix: t, parts: [] };
      let start = prefix;
      for (const part of parts) {
        for (let row = start; row < start + part; row++) mask.fill(MASKED, row * t + prefix, row * t + start);
        start += part;
      }
      return mask;
    };
    return this.masks.get(key, () => this.uploaded(f32([t, t], apart(causalMask(t, hides)))));
  }

  private freeTables(): void {
    const views = [...this.tables.values()].flatMap(({ cos, sin }) => [cos, sin]);
    for (const { buffer } of this.valid ? [...views, this.valid] : views) this.device.free(buffer);
    this.tables.clear();
    this.valid = undefined;
    this.length = 0;
  }

  dispose(): void {
    this.freeTables();
    this.masks.clear();
  }
}

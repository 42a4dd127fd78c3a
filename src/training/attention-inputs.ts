import { causalMask } from "../graph/index.js";
import { type LlamaConfig, ropeTables } from "../models/index.js";
import { type Device, rowsOf, tensor, type View } from "../runtime/index.js";
import { f32 } from "../tensor/index.js";

/** Bytes of masks kept: the least recently used go first. */
const MASK_BUDGET = 64 * 2 ** 20;

/** Rotary tables, causal masks and rows that count on the device, shared by every batch and layer. */
export class AttentionInputs {
  private readonly device: Device;
  private readonly config: LlamaConfig;
  private known: { cos: View; sin: View; valid: View } | undefined;
  private readonly masks = new Map<number, View>();
  private maskBytes = 0;

  constructor(device: Device, config: LlamaConfig) {
    this.device = device;
    this.config = config;
  }

  /** cos, sin [t, hd/2] of positions 0 ... t - 1. */
  rotations(t: number): { cos: View; sin: View } {
    const { cos, sin } = this.tables(t);
    return { cos: rowsOf(cos, 0, t), sin: rowsOf(sin, 0, t) };
  }

  /** For the attention of t rows: mask [t, t], and valid [t, 1, 1], which is 1 for the first `length` rows, 0 behind. */
  get(t: number, length: number): { mask: View; valid: View } {
    const { valid } = this.tables(t);
    return { mask: this.mask(t), valid: rowsOf(valid, valid.shape[0]! / 2 - length, t) };
  }

  private tables(t: number): { cos: View; sin: View; valid: View } {
    if (this.known && this.known.cos.shape[0]! >= t) return this.known;
    const length = 2 ** Math.ceil(Math.log2(Math.max(t, 256)));
    const { cos, sin } = ropeTables(this.config, length);
    const valid = f32([2 * length, 1, 1], new Float32Array(2 * length).fill(1, 0, length));
    const upload = ({ shape, data }: typeof cos) => {
      const made = tensor(this.device, "f32", shape);
      this.device.upload(made, data);
      return made;
    };
    this.free(this.known);
    this.known = { cos: upload(cos), sin: upload(sin), valid: upload(valid) };
    return this.known;
  }

  private mask(t: number): View {
    const known = this.masks.get(t);
    if (known) {
      this.masks.delete(t);
      this.masks.set(t, known);
      return known;
    }
    const made = tensor(this.device, "f32", [t, t]);
    this.device.upload(made, causalMask(t));
    this.masks.set(t, made);
    this.maskBytes += made.buffer.bytes;
    for (const [length, old] of this.masks) {
      if (this.maskBytes <= MASK_BUDGET || length === t) break;
      this.masks.delete(length);
      this.maskBytes -= old.buffer.bytes;
      this.device.free(old.buffer);
    }
    return made;
  }

  private free(tables: Readonly<Record<string, View>> | undefined): void {
    for (const { buffer } of Object.values(tables ?? {})) this.device.free(buffer);
  }

  dispose(): void {
    this.free(this.known);
    for (const v of this.masks.values()) this.device.free(v.buffer);
    this.masks.clear();
    this.known = undefined;
    this.maskBytes = 0;
  }
}

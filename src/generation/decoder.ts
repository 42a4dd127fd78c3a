import { causalMask, MASKED } from "../graph/index.js";
import {
  decode,
  type LlamaConfig,
  type LoraConfig,
  layerPrefix,
  outerNames,
  ropeTables,
  weightName,
} from "../models/index.js";
import { type Device, type Program, tensor, type View } from "../runtime/index.js";
import { type TypedArray, UserError } from "../tensor/index.js";

/** A resident base: weights by checkpoint name. */
export interface DecoderModel {
  readonly device: Device;
  readonly config: LlamaConfig;
  readonly weights: ReadonlyMap<string, View>;
}

/** A resident adapter: its configuration and tensors by checkpoint name. */
export interface ResidentAdapter {
  readonly config: LoraConfig;
  readonly tensors: ReadonlyMap<string, View>;
}

/** Sizes of runs: a prompt is fed in the largest that is filled, its rest in the smallest that holds it. */
const RUN_SIZES = [1, 8, 32, 128, 512] as const;

/** Programs kept at most: adapters of ever new shapes do not fill the memory. */
const MAX_PROGRAMS = 64;

/**
 * Compiled decoding programs of one base, shared by all sequences and adapters of the same shape: one program a run size,
 * cache capacity and adapter shape. The one not used for longest is released when they are too many.
 */
export class Decoder {
  readonly model: DecoderModel;
  private readonly programs = new Map<string, Program>();

  constructor(model: DecoderModel) {
    this.model = model;
  }

  program(tokens: number, capacity: number, lora?: LoraConfig): Program {
    const adapted = lora ? JSON.stringify(lora) : "bare";
    const key = `${tokens} ${capacity} ${adapted}`;
    const { device, config } = this.model;
    const program = this.programs.get(key) ?? device.compile(decode(config, { tokens, capacity }, lora));
    this.programs.delete(key);
    this.programs.set(key, program);
    if (this.programs.size > MAX_PROGRAMS) {
      const oldest = this.programs.keys().next().value!;
      device.release(this.programs.get(oldest)!);
      this.programs.delete(oldest);
    }
    return program;
  }

  dispose(): void {
    for (const program of this.programs.values()) this.model.device.release(program);
    this.programs.clear();
  }
}

/** One sequence being decoded: its KV cache, tied to one adapter for life, so that no cache ever serves another. */
export class Sequence {
  /** Tokens in the cache. */
  length = 0;
  readonly capacity: number;
  private readonly decoder: Decoder;
  private readonly adapter: ResidentAdapter | undefined;
  private readonly cache = new Map<string, View>();
  private readonly scratch = new Map<string, View>();
  private readonly pastMask: Float32Array;

  /** `capacity`: the most tokens it can ever hold, prompt and answer. Throws UserError past the model's context. */
  constructor(decoder: Decoder, capacity: number, adapter?: ResidentAdapter) {
    const { config, device } = decoder.model;
    if (capacity > config.maxPositionEmbeddings) {
      throw new UserError(
        `${capacity} tokens (prompt and new ones) exceed the model's context of ${config.maxPositionEmbeddings}; shorten the prompt or ask for fewer`,
      );
    }
    this.decoder = decoder;
    this.adapter = adapter;
    this.capacity = roundUp(capacity, 256);
    this.pastMask = new Float32Array(this.capacity).fill(MASKED);
    for (let i = 0; i < config.numHiddenLayers; i++) {
      for (const kind of ["k_cache", "v_cache"]) {
        this.cache.set(
          layerPrefix(i) + kind,
          tensor(device, "f32", [config.numKeyValueHeads, this.capacity, config.headDim]),
        );
      }
    }
  }

  /** Feeds tokens and returns the logits [V] after the last of them. Throws RangeError when the cache is full. */
  async feed(ids: readonly number[]): Promise<Float32Array> {
    let logits: View | undefined;
    let rest = ids;
    while (rest.length) {
      const size = RUN_SIZES.findLast((s) => s <= rest.length) ?? 1;
      const fitting = RUN_SIZES.find(
        (s) => s >= rest.length && s <= 4 * rest.length && this.length + s <= this.capacity,
      );
      const chunk = rest.slice(0, fitting ?? size);
      logits = this.run(chunk, fitting ?? size);
      rest = rest.slice(chunk.length);
    }
    if (!logits) throw new RangeError("feed needs at least one token");
    return (await this.decoder.model.device.download(logits)) as Float32Array;
  }

  /** Forgets every token from position `length` on: the cache may be shared by texts with the same beginning. */
  rewind(length: number): void {
    this.pastMask.fill(MASKED, length, this.length);
    this.length = Math.min(this.length, length);
  }

  private run(ids: readonly number[], size: number): View {
    const { device, config } = this.decoder.model;
    if (this.length + size > this.capacity) throw new RangeError(`the cache holds ${this.capacity} tokens and is full`);
    const program = this.decoder.program(size, this.capacity, this.adapter?.config);
    const { cos, sin } = ropeTables(config, size, this.length);
    const padded = new BigInt64Array(size);
    ids.forEach((id, i) => {
      padded[i] = BigInt(id);
    });
    const past = new Float32Array(size * this.capacity);
    for (let i = 0; i < size; i++) past.set(this.pastMask, i * this.capacity);
    const inputs: Record<string, View> = {
      ids: this.upload(`ids ${size}`, "i64", [size], padded),
      row: this.upload("row", "i64", [1], BigInt64Array.of(BigInt(ids.length - 1))),
      cos: this.upload(`cos ${size}`, "f32", cos.shape, cos.data),
      sin: this.upload(`sin ${size}`, "f32", sin.shape, sin.data),
      past_mask: this.upload(`past ${size}`, "f32", [size, this.capacity], past),
      mask: this.upload(`mask ${size}`, "f32", [size, size], causalMask(size)),
    };
    for (const name of program.inputs) inputs[name] ??= this.cache.get(name) ?? this.parameter(name);
    const outputs = this.outputs(program, size);
    device.run(program, inputs, outputs);
    for (let i = 0; i < config.numHiddenLayers; i++) {
      for (const kind of ["k", "v"]) {
        device.copyRows(
          outputs[layerPrefix(i) + kind]!,
          this.cache.get(`${layerPrefix(i)}${kind}_cache`)!,
          this.length,
        );
      }
    }
    this.pastMask.fill(0, this.length, this.length + ids.length);
    this.length += ids.length;
    return outputs.logits!;
  }

  private outputs(program: Program, size: number): Record<string, View> {
    const { config } = this.decoder.model;
    const { numKeyValueHeads, headDim } = config;
    const outputs: Record<string, View> = {};
    for (const name of program.outputs) {
      const shape = name === "logits" ? [1, config.vocabSize] : [numKeyValueHeads, size, headDim];
      outputs[name] = this.named(`${name} ${size}`, "f32", shape);
    }
    return outputs;
  }

  private parameter(name: string): View {
    const { config, weights } = this.decoder.model;
    const [, layer, input] = /^layers\.(\d+)\.(.*)$/.exec(name) ?? [];
    const key = input === undefined ? outerNames(config)[name]! : weightName(input, Number(layer));
    const found = this.adapter?.tensors.get(key) ?? weights.get(key);
    if (!found) throw new Error(`no weight '${key}'`);
    return found;
  }

  private upload(name: string, dtype: "f32" | "i64", shape: readonly number[], data: TypedArray): View {
    const to = this.named(name, dtype, shape);
    this.decoder.model.device.upload(to, data);
    return to;
  }

  private named(name: string, dtype: "f32" | "i64", shape: readonly number[]): View {
    let found = this.scratch.get(name);
    if (!found) this.scratch.set(name, (found = tensor(this.decoder.model.device, dtype, shape)));
    return found;
  }

  dispose(): void {
    for (const v of [...this.cache.values(), ...this.scratch.values()]) this.decoder.model.device.free(v.buffer);
    this.cache.clear();
    this.scratch.clear();
  }
}

const roundUp = (n: number, step: number): number => Math.ceil(n / step) * step;

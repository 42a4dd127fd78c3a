import { hostUpdate } from "../adapters/index.js";
import { type Adapter, adaptedModule } from "../formats/peft/adapter.js";
import { define, matmul } from "../graph/index.js";
import {
  BLOCKS,
  type BlockOps,
  blockNorms,
  hasBias,
  headWeight,
  type LinearName,
  layerKind,
  linearShape,
  type ModelConfig,
  modulePath,
  type Projections,
  ropeTables,
  weightName,
} from "../models/index.js";
import { type Device, type Program, tensor } from "../runtime/index.js";
import { encodeValues, type GgufWeightType } from "../tensor/codecs/quants-encode.js";
import { codecOf, sizeOf } from "../tensor/index.js";
import type { OpenModel } from "../weights/model-folder.js";
import { biasOf } from "./merge.js";
import { attention, capped, columns, geluTanh, joined, rotated, silu } from "./streamed-math.js";
import { weightVersions } from "./weight-versions.js";

/** A model that takes part in a run: where its weights come from and what is done to them. */
export interface Track {
  readonly of: OpenModel;
  /** Merged into the weights; of one model's tracks all name the same adapter. */
  readonly merged?: Adapter;
  /** The type that the weights are rounded to, by name. */
  readonly storedAs?: (name: string) => string;
  /** An adapter that computes beside the weights. */
  readonly beside?: Adapter;
}

/** Values of a weight on the device at a time. */
const CHUNK_VALUES = 2 ** 22;

/**
 * Logits after every token, [tokens, V] a track, of several versions of one model side by side. No model is ever in memory: each
 * weight is read once a file, used by all, and forgotten, so memory is the largest weight in fp32, 32 MB and what
 * the tokens take. Only products run on the device; the rest is plain arithmetic, and so a second opinion on the engine's graphs.
 */
export async function streamedLogits(
  device: Device,
  tracks: readonly Track[],
  ids: readonly number[],
): Promise<Float32Array[]> {
  const run = new StreamedRun(device, tracks);
  try {
    return await run.logits(ids);
  } finally {
    run.dispose();
  }
}

/** Values [n, width] of every track, when they are there. */
type Values = Promise<readonly Float32Array[]>;

/** Such runs of the same tracks, of which a later one may go on where an earlier one's text is left. */
export class StreamedRun {
  private readonly device: Device;
  private readonly tracks: readonly Track[];
  private readonly config: ModelConfig;
  /** Tokens of a run, and those before them whose keys and values are there already. */
  private n = 0;
  private first = 0;
  /** By layer, the keys and values [first + n, KV hd] of every track. */
  private readonly past = new Map<number, Record<"k" | "v", readonly Float32Array[]>>();
  private readonly programs = new Map<string, Program>();
  private memory = new Float32Array();
  /** What weights are read for, one after the other. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(device: Device, tracks: readonly Track[]) {
    this.device = device;
    this.tracks = tracks;
    this.config = tracks[0]!.of.config;
  }

  dispose(): void {
    for (const program of this.programs.values()) this.device.release(program);
  }

  /**
   * Logits of every track after the last `rows` of `ids` [rows, V], all by default, which stand behind `first` tokens that an earlier run
   * had in these places.
   */
  async logits(ids: readonly number[], { first = 0, rows = ids.length } = {}): Promise<Float32Array[]> {
    const { numHiddenLayers, hiddenSize, vocabSize, logitScale = 1, finalSoftcap = 0 } = this.config;
    [this.n, this.first] = [ids.length, first];
    let x: readonly Float32Array[] = await this.embed(ids);
    for (let layer = 0; layer < numHiddenLayers; layer++) x = await this.block(layer, x);
    this.n = rows;
    const last = x.map((values) => values.subarray(values.length - rows * hiddenSize));
    const h = await this.norm("model.norm.weight", last, hiddenSize);
    const products = await this.product(headWeight(this.config), vocabSize, hiddenSize, h);
    return products.map((track) => track.map((value) => capped(value * logitScale, finalSoftcap)));
  }

  private async embed(ids: readonly number[]): Promise<Float32Array[]> {
    const { hiddenSize: width, embeddingScale = 1 } = this.config;
    const x = this.tracks.map(() => new Float32Array(this.n * width));
    await this.each("model.embed_tokens.weight", async (values, users, round) => {
      const rows = new Float32Array(this.n * width);
      for (const [i, id] of ids.entries()) rows.set(values.subarray(id * width, (id + 1) * width), i * width);
      round(rows);
      for (const user of users) x[user]!.set(rows.map((value) => value * embeddingScale));
    });
    return x;
  }

  private async block(layer: number, x: readonly Float32Array[]): Promise<readonly Float32Array[]> {
    const block = BLOCKS[this.config.block ?? "pre_norm"];
    const ops = this.ops(layer);
    const start = Promise.resolve(x);
    const o = this.attention(layer, block.attentionInput(ops, start));
    return block.attentionOutput(ops, start, o);
  }

  /** The operations of a block as plain arithmetic, in the order in which their inputs come to be. */
  private ops(layer: number): BlockOps<Values> {
    const { config, n, first } = this;
    const { rope } = layerKind(config, layer);
    const widths = blockNorms(config);
    const pairwise = (f: (a: number, b: number) => number) => (a: Values, b: Values) =>
      later(async () => {
        const [left, right] = [await a, await b];
        return left.map((values, i) => values.map((value, j) => f(value, right[i]![j]!)));
      });
    return {
      config,
      linear: (name, x) =>
        later(async () => this.inTurn(await x, (from) => this.linear(layer, name as LinearName, from))),
      norm: (name, x) => {
        const weight = weightName(`${name}.weight`, layer);
        return later(async () => this.inTurn(await x, (from) => this.norm(weight, from, widths.get(name)!)));
      },
      rotate: (x, heads) => {
        if (rope === "none") return x;
        const tables = ropeTables(config, n, { rope, start: first });
        return later(async () => (await x).map((values) => rotated(config, n, values, heads, tables)));
      },
      add: pairwise((a, b) => a + b),
      scale: (x, factor) => later(async () => (await x).map((values) => values.map((value) => value * factor))),
      gated: pairwise(
        config.activation === "gelu_tanh" ? (gate, up) => geluTanh(gate) * up : (gate, up) => silu(gate) * up,
      ),
      split: (x, widths) =>
        widths.map((width, part) => {
          const first = widths.slice(0, part).reduce((a, b) => a + b, 0);
          return later(async () => (await x).map((values) => columns(values, n, first, width)));
        }),
    };
  }

  /** Work that reads weights has one memory for them, so it waits for the work before it. */
  private inTurn(
    x: readonly Float32Array[],
    work: (x: readonly Float32Array[]) => Promise<Float32Array[]>,
  ): Promise<Float32Array[]> {
    const result = this.turn.then(() => work(x));
    this.turn = result.catch(() => {});
    return result;
  }

  private attention(layer: number, { q, k, v }: Projections<Values>): Values {
    const { config, n, first } = this;
    const kind = layerKind(config, layer);
    const before = this.past.get(layer);
    const kept = first * config.numKeyValueHeads * config.headDim;
    const behind = (own: readonly Float32Array[], past: readonly Float32Array[] = []) =>
      first === 0 ? own : own.map((values, i) => joined(past[i]!.subarray(0, kept), values));
    return later(async () => {
      const [queries, keys, values] = [await q, behind(await k, before?.k), behind(await v, before?.v)];
      this.past.set(layer, { k: keys, v: values });
      return queries.map((query, i) => attention(config, kind, { n, first }, query, keys[i]!, values[i]!));
    });
  }

  /** x W^T (+ b), and for tracks with an adapter beside what its update adds: (x W^T) diag(gain) + alpha (x A^T) b^T. */
  private async linear(layer: number, name: LinearName, x: readonly Float32Array[]): Promise<Float32Array[]> {
    const module = modulePath(layer, name);
    const [out, into] = linearShape(this.config, name);
    const y = await this.product(`${module}.weight`, out, into, x);
    for (const [i, { beside, merged }] of this.tracks.entries()) {
      // A bias that the layer has is merged where it is read.
      const shift = merged && !hasBias(this.config, name) ? await biasOf(merged, module) : undefined;
      if (shift) y[i]!.forEach((_, j, all) => void (all[j]! += shift[j % out]!));
      const adapter = beside && adaptedModule(beside, module);
      if (!adapter) continue;
      const { a, b, alpha, gain, bias } = await hostUpdate(adapter, () =>
        this.tracks[i]!.of.tensors.read(`${module}.weight`),
      );
      const [low] = await this.multiply(a, adapter.r, into, [x[i]!]);
      const [high] = await this.multiply(Float32Array.from(b), out, adapter.r, [low!]);
      const own = y[i]!;
      high!.forEach((value, j) => {
        own[j] = own[j]! * (1 + (gain?.[j % out] ?? 0)) + alpha * value + (bias?.[j % out] ?? 0);
      });
    }
    if (hasBias(this.config, name)) {
      await this.each(`${module}.bias`, async (values, users, round) => {
        const own = values.slice();
        round(own);
        for (const user of users) y[user]!.forEach((_, j, all) => void (all[j]! += own[j % out]!));
      });
    }
    return y;
  }

  /** RMSNorm of parts of so many values. */
  private async norm(name: string, x: readonly Float32Array[], width: number): Promise<Float32Array[]> {
    const { rmsNormEps, unitOffsetNorm } = this.config;
    const h = x.map((values) => new Float32Array(values.length));
    await this.each(name, async (values, users, round) => {
      const own = values.slice();
      round(own);
      const factors = unitOffsetNorm ? own.map((value) => value + 1) : own;
      for (const user of users) {
        for (let at = 0; at < h[user]!.length; at += width) {
          const part = x[user]!.subarray(at, at + width);
          const scale = 1 / Math.sqrt(part.reduce((sum, value) => sum + value * value, 0) / width + rmsNormEps);
          for (let j = 0; j < width; j++) h[user]![at + j] = part[j]! * scale * factors[j]!;
        }
      }
    });
    return h;
  }

  private async product(
    name: string,
    rows: number,
    width: number,
    x: readonly Float32Array[],
  ): Promise<Float32Array[]> {
    const y: Float32Array[] = [];
    await this.each(name, async (values, users, round) => {
      const inputs = users.map((user) => x[user]!);
      for (const [i, result] of (await this.multiply(values, rows, width, inputs, round)).entries())
        y[users[i]!] = result;
    });
    return y;
  }

  /** Gives every track the values of a weight, those together that have the same; `round` is to be applied to copies. */
  private async each(
    name: string,
    use: (values: Float32Array, users: readonly number[], round: (values: Float32Array) => void) => Promise<void>,
  ): Promise<void> {
    for (const model of new Set(this.tracks.map(({ of }) => of))) {
      const values = await model.tensors.read(name, this.take(sizeOf(model.tensors.tensors.get(name)!.shape)));
      const mine = [...this.tracks.keys()].filter((i) => this.tracks[i]!.of === model);
      for (const { users, change } of weightVersions(name, this.tracks, mine)) {
        await change(values);
        const typeOf = (i: number) => this.tracks[i]!.storedAs?.(name) ?? "f32";
        for (const type of new Set(users.map(typeOf))) {
          await use(
            values,
            users.filter((i) => typeOf(i) === type),
            (part) => rounded(name, part, type),
          );
        }
      }
    }
  }

  private take(size: number): Float32Array {
    if (this.memory.length < size) this.memory = new Float32Array(size);
    return this.memory.subarray(0, size);
  }

  /** x W^T of several x [n, width] with one W [rows, width], some rows of W at a time. */
  private async multiply(
    values: Float32Array,
    rows: number,
    width: number,
    x: readonly Float32Array[],
    round: (values: Float32Array) => void = () => {},
  ): Promise<Float32Array[]> {
    const { device, n } = this;
    const all = x.length * n;
    const perChunk = Math.min(rows, Math.max(1, Math.floor(CHUNK_VALUES / width)));
    const stacked = new Float32Array(all * width);
    x.forEach((part, i) => void stacked.set(part, i * n * width));
    const input = tensor(device, "f32", [all, width]);
    device.upload(input, stacked);
    const y = x.map(() => new Float32Array(n * rows));
    for (let first = 0; first < rows; first += perChunk) {
      const count = Math.min(perChunk, rows - first);
      const part = values.slice(first * width, (first + count) * width);
      round(part);
      const [w, result] = [tensor(device, "f32", [count, width]), tensor(device, "f32", [count, all])];
      device.upload(w, part);
      device.run(this.program(count, width, all), { w, x: input }, { y: result });
      const found = (await device.download(result)) as Float32Array;
      for (let row = 0; row < count; row++)
        for (let t = 0; t < all; t++) y[Math.floor(t / n)]![(t % n) * rows + first + row] = found[row * all + t]!;
      for (const { buffer } of [w, result]) device.free(buffer);
    }
    device.free(input.buffer);
    return y;
  }

  private program(rows: number, width: number, columns: number): Program {
    const key = `${rows} ${width} ${columns}`;
    let program = this.programs.get(key);
    if (!program) {
      const product = define("product", (declare) => ({
        y: matmul(declare("w", [rows, width]), declare("x", [columns, width]), { transB: true }),
      }));
      this.programs.set(key, (program = this.device.compile(product)));
    }
    return program;
  }
}

/** A result that may fail before anybody waits for it. */
function later(work: () => Promise<readonly Float32Array[]>): Values {
  const result = work();
  result.catch(() => {});
  return result;
}

/** Replaces values, whole rows, by what comes back of them from a type. */
function rounded(name: string, values: Float32Array, type: string): void {
  if (type === "f32") return;
  const codec = codecOf(type)!;
  const chunk = 2 ** 19;
  for (let at = 0; at < values.length; at += chunk) {
    const part = values.subarray(at, at + chunk);
    codec.decode(encodeValues(name, type as GgufWeightType, part), 0, part, 0, part.length / codec.block);
  }
}

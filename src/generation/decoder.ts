import { cacheGroups, cacheShape } from "../models/index.js";
import { tensor, type View, view } from "../runtime/index.js";
import { asBytes, type DType, f32, type HostTensor } from "../tensor/index.js";
import { createTurns, type Turns } from "../tensor/turns.js";
import { AdapterStack, type ResidentAdapter } from "./adapter-stack.js";
import type { DecoderModel } from "./decode-programs.js";
import { begins, type DecodeStage, ends } from "./decode-stage.js";
import { KvPool } from "./kv-pool.js";
import { OwnWeights } from "./own-weights.js";
import { movePositions } from "./positions.js";
import { PrefixCache } from "./prefix-cache.js";
import { lastPositions, rotations } from "./run-inputs.js";
import type { Gives, Piece, Sequence } from "./sequence.js";
import { StepQueue } from "./step-queue.js";

export type { ResidentAdapter } from "./adapter-stack.js";
export type { DecoderModel } from "./decode-programs.js";
export type { DecodeStage } from "./decode-stage.js";
export { Sequence } from "./sequence.js";

/** Positions of the smallest KV cache; each larger one has twice as many. */
const LEAST_CAPACITY = 256;

/** The rows of a pool from `first` on in a run, `size` tokens of each, and the texts that stand there. */
interface RunShape {
  readonly first: number;
  readonly rows: number;
  readonly size: number;
  readonly rank: number;
  readonly texts: readonly Sequence[];
  /** Tokens of each text for which something is given. */
  readonly wanted: number;
}

/** A run: rows of a pool, and the texts that have a turn in it. */
interface Run extends Pick<RunShape, "first" | "rows" | "size"> {
  readonly pool: KvPool<Sequence>;
  readonly turns: readonly Turn[];
  readonly gives?: Gives;
}

/** New tokens of one text in a run. */
interface Turn {
  readonly sequence: Sequence;
  readonly ids: readonly number[];
}

/**
 * Decodes the texts of one base, whatever their adapters. Whoever feeds one token takes part in the next step, a single run
 * over the texts of about the same length; prompts are fed text by text.
 */
export class Decoder {
  readonly model: DecoderModel;
  /**
   * Texts in a step at least, filled up with empty ones. With 2, a text's numbers never depend on who else is in the step: a
   * product of one row adds in another order than one of many (and takes a sixth less time). Default 1.
   */
  leastRows = 1;
  /**
   * Bytes of matrices up to which steps have them laid out a second time, as the engine multiplies few rows fastest: twice as fast,
   * or more, for the memory. Default 0.
   */
  secondCopy = 0;
  readonly stack: AdapterStack;
  readonly prefixes: PrefixCache;
  readonly steps: StepQueue<Sequence, number, Float32Array>;
  /** Pieces of prompts are fed one at a time, in the order they came: a step waits for one of them, however many prompts there are. */
  readonly prompts: Turns = createTurns();
  private readonly weights: OwnWeights;
  private readonly pools = new Map<number, KvPool<Sequence>>();
  private readonly scratch = new Map<string, View>();
  /** With a stage: one run at a time, in the order in which they were asked for, which is that of all stages. */
  private readonly inTurn: Turns = createTurns();
  private open = 0;

  constructor(model: DecoderModel) {
    this.model = model;
    this.weights = new OwnWeights(model);
    this.stack = new AdapterStack(model.device, model.config, model.weights);
    this.prefixes = new PrefixCache(model.device, model.config);
    this.steps = new StepQueue((asked) => this.step(asked));
  }

  /** Begins a text. */
  enter(sequence: Sequence): void {
    this.open++;
    if (sequence.adapter) this.stack.acquire(sequence.adapter);
  }

  /** Ends a text. With the last one all memory but the programs and the adapters' is freed. */
  leave(sequence: Sequence): void {
    this.steps.leave(sequence);
    if (sequence.adapter) this.stack.release(sequence.adapter);
    const { adapter, pool, row, fed } = sequence;
    if (pool && sequence.isPrefix)
      this.prefixes.keep(adapter, fed, { caches: pool.views, row, starts: sequence.starts });
    this.evict(sequence);
    if (--this.open > 0) return;
    for (const { buffer } of this.scratch.values()) this.model.device.free(buffer);
    this.scratch.clear();
  }

  /** Begins a text with what an earlier one with the same adapter had in common with it; returns how many tokens that is. */
  recall(sequence: Sequence, ids: readonly number[]): number {
    const found = this.prefixes.find(sequence.adapter, ids);
    if (!found) return 0;
    const { caches, starts, count } = found;
    const pool = this.reserve(sequence, count);
    for (const [i, cache] of caches.entries()) {
      const move = { row: 0, at: 0, toRow: sequence.row, toAt: 0, count: count - starts[i]! };
      movePositions(this.model.device, cache, pool.views[i]!, [move]);
      sequence.starts[i] = starts[i]!;
    }
    sequence.grow(ids.slice(0, count));
    sequence.reach = count;
    return count;
  }

  /** An adapter is unloaded: nothing of it is kept. */
  forget(tensors: ResidentAdapter["tensors"]): void {
    this.stack.forget(tensors);
    this.weights.forget(tensors);
    this.prefixes.forget(tensors);
  }

  /** The base's weights have other values: whatever was made of the old ones goes, and no second copy is made any more. */
  weightsChanged(): void {
    this.weights.clear();
    this.prefixes.clear();
    this.stack.weightsChanged();
    this.secondCopy = 0;
  }

  /**
   * Runs pieces of one text, one after the other. Returns the logits [1, V] of the last token, or what else is asked for of the last
   * piece: those of its first `wanted` tokens, hidden states [wanted, D] in place of logits.
   */
  feed(sequence: Sequence, pieces: readonly Piece[], last: Gives = {}): Promise<Float32Array> {
    const runs = pieces.map(({ ids, size }, i) => (): Run => {
      const pool = this.reserve(sequence, ids.length);
      const gives = i === pieces.length - 1 ? last : {};
      return { pool, first: sequence.row, rows: 1, size, gives, turns: [{ sequence, ids }] };
    });
    return this.found(runs);
  }

  dispose(): void {
    this.weightsChanged();
    this.stack.dispose();
  }

  /** One token of each text: a run for every pool that they lie in, and for every adapter there with weights of its own. */
  private async step(asked: ReadonlyMap<Sequence, number>): Promise<ReadonlyMap<Sequence, Float32Array>> {
    const byPool = new Map<KvPool<Sequence>, Map<unknown, Turn[]>>();
    for (const [sequence, id] of asked) {
      const pool = this.reserve(sequence, 1);
      const turns = byPool.get(pool) ?? new Map<unknown, Turn[]>();
      const key = this.weights.keyOf(sequence.adapter);
      byPool.set(pool, turns.set(key, [...(turns.get(key) ?? []), { sequence, ids: [id] }]));
    }
    const answers = new Map<Sequence, Float32Array>();
    const { vocabSize } = this.model.config;
    const together = [...byPool].flatMap(([pool, byWeights]) =>
      [...byWeights.values()].map((turns) => ({ pool, turns })),
    );
    const runs = together.map(async ({ pool, turns }) => {
      const rows = this.rowsFor(Math.max(...turns.map(({ sequence }) => sequence.row)) + 1);
      const inRows = turns.map(({ sequence }) => [sequence, sequence.row] as const);
      const logits = await this.found([() => ({ pool, first: 0, rows, size: 1, turns })]);
      for (const [sequence, row] of inRows) {
        answers.set(sequence, logits.subarray(row * vocabSize, (row + 1) * vocabSize));
      }
    });
    await Promise.all(runs);
    return answers;
  }

  /** The pool in which a text has room for `count` tokens more; it moves to a larger one when it must. */
  private reserve(sequence: Sequence, count: number): KvPool<Sequence> {
    const needed = sequence.length + count + 1; // where a run writes for a text that has no turn
    const old = sequence.pool;
    if (old && needed <= old.capacity) {
      old.makeRoom(sequence, count);
      return old;
    }
    const { device, config } = this.model;
    const capacity = capacityFor(needed);
    let pool = this.pools.get(capacity);
    if (!pool) this.pools.set(capacity, (pool = new KvPool(device, config, capacity, this.rowsFor(1))));
    const from = sequence.row;
    pool.add(sequence, this.rowsFor(pool.tenants.length + 1));
    if (old) {
      const to = sequence.row;
      for (const [i, view] of old.views.entries()) {
        const held = sequence.length - sequence.starts[i]!;
        movePositions(device, view, pool.views[i]!, [{ row: from, at: 0, toRow: to, toAt: 0, count: held }]);
      }
      sequence.row = from;
      this.evict(sequence);
      sequence.row = to;
    }
    sequence.pool = pool;
    sequence.written = sequence.length;
    pool.makeRoom(sequence, count);
    return pool;
  }

  private evict(sequence: Sequence): void {
    const { pool } = sequence;
    if (!pool) return;
    pool.remove(sequence);
    sequence.pool = undefined;
    if (pool.tenants.length > 0) return;
    pool.dispose();
    this.pools.delete(pool.capacity);
  }

  /** Texts are counted in few steps, each of which is a program of its own. */
  private rowsFor(count: number): number {
    return 2 ** Math.ceil(Math.log2(Math.max(count, this.leastRows)));
  }

  /** What the last of some runs gives. Each is prepared when those before it are queued. */
  private async found(runs: readonly (() => Run)[]): Promise<Float32Array> {
    const { device, stage } = this.model;
    if (stage) return this.inTurn(() => this.inStages(runs, stage));
    const views = runs.map((prepare) => this.run(prepare()));
    return (await device.download(views.at(-1)!)) as Float32Array;
  }

  /** The same where this process has a part of the blocks: it goes on with what the stage before made. */
  private async inStages(runs: readonly (() => Run)[], stage: DecodeStage): Promise<Float32Array> {
    const { device, config } = this.model;
    let own: Float32Array | undefined;
    let size = 0;
    for (const prepare of runs) {
      const run = prepare();
      const given = begins(config) ? undefined : await stage.take(run.rows * run.size * config.hiddenSize);
      const made = (await device.download(this.run(run, given))) as Float32Array;
      if (ends(config)) own = made;
      else await stage.give(made);
      const { wanted = 1, hidden = false } = run.gives ?? {};
      size = run.rows * wanted * (hidden ? config.hiddenSize : config.vocabSize);
    }
    return stage.share(size, own);
  }

  /**
   * Runs `rows` rows of a pool from `first` on. Rows that have no turn are computed for nothing: what a run adds to their caches,
   * behind their last position, is overwritten in their next turn. `stream`: what goes into the first block, where that is not here.
   */
  private run({ pool, first, rows, size, gives = {}, turns }: Run, stream?: Float32Array): View {
    const { device, config } = this.model;
    const texts = pool.tenants.slice(first, first + rows);
    const adapters = turns.flatMap(({ sequence }) => (sequence.adapter ? [sequence.adapter] : []));
    const { rank, ...adapted } = this.stack.extent(adapters);
    const shape = { rows, tokens: size, capacity: pool.capacity, rank, ...adapted, ...gives };
    const { program, weights } = this.weights.programsOf(adapters[0]).get(shape, this.secondCopy);
    const own = this.inputs({ first, rows, size, rank, texts, wanted: gives.wanted ?? 1 }, turns);
    const inputs = { ...own, ...this.stack.views(program.inputs, rank), ...this.streamed(rows * size, stream) };
    const answer = this.answer(rows, size, gives);
    const made = this.madeViews(program.outputs, rows, size);
    device.run(program, inputs, { ...answer, ...made }, [weights, pool.part(first, rows)]);
    for (const [i, { suffix }] of cacheGroups(config).entries()) {
      const kv = made[`kv${suffix}`];
      if (!kv) continue;
      const moves = turns.map(({ sequence: { row, length, starts }, ids }) => {
        return { row: row - first, at: 0, toRow: row, toAt: length - starts[i]!, count: ids.length };
      });
      movePositions(device, kv, pool.views[i]!, moves);
    }
    for (const text of texts) text.touch();
    for (const { sequence, ids } of turns) sequence.grow(ids);
    return Object.values(answer)[0]!;
  }

  private streamed(rows: number, values: Float32Array | undefined): Record<string, View> {
    if (!values) return {};
    const stream = this.named(`stream ${rows}`, "f32", [rows, this.model.config.hiddenSize]);
    this.model.device.upload(stream, values);
    return { stream };
  }

  /** Where a run puts what it gives, by its output's name. */
  private answer(rows: number, tokens: number, { wanted = 1, hidden = false }: Gives): Record<string, View> {
    const { config } = this.model;
    const { hiddenSize, vocabSize } = config;
    if (!ends(config)) return { next: this.named(`next ${rows * tokens}`, "f32", [rows * tokens, hiddenSize]) };
    const [name, size] = hidden ? ["hidden", hiddenSize] : ["logits", vocabSize];
    return { [name]: this.named(`${name} ${rows * wanted}`, "f32", [rows * wanted, size]) };
  }

  /** Where a run that does not itself add to the caches hands keys and values out, for each group of layers. */
  private madeViews(outputs: readonly string[], rows: number, size: number): Record<string, View> {
    const { config } = this.model;
    const groups = cacheGroups(config).filter(({ suffix }) => outputs.includes(`kv${suffix}`));
    const made = groups.map((group) => {
      const view = this.named(`kv${group.suffix} ${rows} ${size}`, "f32", cacheShape(config, group, rows, size));
      return [`kv${group.suffix}`, view] as const;
    });
    return Object.fromEntries(made);
  }

  /** The inputs of a run but weights, caches and adapters. */
  private inputs(
    { first, rows, size, rank, texts, wanted: each }: RunShape,
    turns: readonly Turn[],
  ): Record<string, View> {
    const n = rows * size;
    const [ids, wanted] = [new BigInt64Array(n), new BigInt64Array(rows * each)];
    const [picked, factor] = [new Float32Array(n * rank), new Float32Array(n)];
    for (const { sequence, ids: own } of turns) {
      const row = sequence.row - first;
      own.forEach((id, i) => {
        ids[row * size + i] = BigInt(id);
      });
      for (let i = 0; i < each; i++) wanted[row * each + i] = BigInt(row * size + (each === 1 ? own.length - 1 : i));
      if (!sequence.adapter) continue;
      const { start, rows: height } = this.stack.segment(sequence.adapter);
      for (let i = row * size; i < (row + 1) * size; i++) {
        picked.fill(1, i * rank + start, i * rank + start + height);
        factor[i] = sequence.adapter.factor ?? 1;
      }
    }
    const adapter = { picked: f32([n, rank], picked), factor: f32([n, 1], factor) };
    return this.upload({
      ids: { dtype: "i64", shape: [n], data: ids },
      wanted: { dtype: "i64", shape: [rows * each], data: wanted },
      ...rotations(this.model.config, { n, size, first }, turns),
      ...lastPositions(this.model.config, rows, texts),
      ...(rank > 0 ? adapter : {}),
    });
  }

  /** Uploads small tensors side by side, in one piece: each piece costs more than what is in it. */
  private upload(tensors: Readonly<Record<string, HostTensor>>): Record<string, View> {
    const entries = Object.entries(tensors);
    const starts = [0];
    for (const [i, [, { data }]] of entries.entries()) starts.push(starts[i]! + Math.ceil(data.byteLength / 8) * 8);
    const joined = new Uint8Array(starts.at(-1)!);
    const to = this.named(`inputs ${joined.length}`, "u8", [joined.length]);
    const views: Record<string, View> = {};
    for (const [i, [name, { dtype, shape, data }]] of entries.entries()) {
      joined.set(asBytes(data), starts[i]);
      views[name] = view(to.buffer, dtype, shape, starts[i]);
    }
    this.model.device.upload(to, joined);
    return views;
  }

  private named(name: string, dtype: DType, shape: readonly number[]): View {
    let found = this.scratch.get(name);
    if (!found) this.scratch.set(name, (found = tensor(this.model.device, dtype, shape)));
    return found;
  }
}

const capacityFor = (tokens: number): number => 2 ** Math.ceil(Math.log2(Math.max(tokens, LEAST_CAPACITY)));

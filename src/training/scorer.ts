import type { MicroBatch, Sample } from "../data/sample.js";
import type { LoraConfig } from "../models/index.js";
import { type Device, uploadTensors, type View } from "../runtime/index.js";
import type { HostTensor } from "../tensor/index.js";
import { type BatchLayout, headChunks, layOut } from "./batch-layout.js";
import type { Communicator } from "./communicators/communicator.js";
import { markedTokens } from "./objectives/sequences.js";
import type { Pass } from "./pass.js";
import { createContext, disposeContext, type PassContext, type TrainerModel } from "./pass-context.js";
import { readLogits, runPass, runScores, runStream } from "./pass-runs.js";
import { foundByLast, stageForward } from "./stages/forward.js";
import type { PipelineOptions } from "./stages/stage.js";

/** Rows of logits that are looked at on the host at once. */
const LOGITS = 64;

/** Whatever can say how likely a model finds texts. */
export interface ScoringModel {
  /** By sample, the log-probabilities of its marked tokens, without dropout. */
  score(batch: MicroBatch): Promise<ArrayLike<number>[]>;
  /** Summed cross entropy of all marked tokens, without dropout. */
  evaluate(batch: MicroBatch): Promise<{ lossSum: number; supervisedTokens: number }>;
}

export interface ScorerOptions {
  /** Default: none, the model as it is. */
  readonly adapter?: { readonly config: LoraConfig; readonly tensors: ReadonlyMap<string, HostTensor> } | undefined;
  /** Weights of the model that are not on the device yet, for as long as the scorer is there. Default: none. */
  readonly weights?: ReadonlyMap<string, HostTensor>;
  /** The ranks that the model is spread over: each makes the same calls. Default: this one has all of it. */
  readonly pipeline?: PipelineOptions | undefined;
}

/** A forward pass over a model, with an adapter or without. Nothing is trained, and nothing kept for a backward. */
export class Scorer implements ScoringModel {
  private readonly device: Device;
  private readonly context: PassContext;
  private readonly own: ReadonlyMap<string, View>;
  private readonly ranks: Communicator | undefined;

  constructor(model: TrainerModel, { adapter, weights = new Map(), pipeline }: ScorerOptions = {}) {
    this.device = model.device;
    this.ranks = pipeline?.ranks;
    this.own = uploadTensors(model.device, new Map([...weights, ...(adapter?.tensors ?? [])]));
    this.context = createContext(model, {
      trainables: adapter ? { kind: "lora", lora: { ...adapter.config, dropout: 0 } } : { kind: "none" },
      adapter: (name) => this.own.get(name),
      stage: pipeline?.stages[pipeline.ranks.rank],
    });
  }

  score(batch: MicroBatch): Promise<ArrayLike<number>[]> {
    return this.found(batch, scoreBatch);
  }

  evaluate(batch: MicroBatch): Promise<{ lossSum: number; supervisedTokens: number }> {
    return this.found(batch, evaluateBatch);
  }

  private found<T>(
    batch: MicroBatch,
    find: (context: PassContext, batch: MicroBatch, forward?: Forward) => Promise<T>,
  ): Promise<T> {
    const { ranks, context } = this;
    if (!ranks) return find(context, batch);
    const forward: Forward = (layout) => stageForward(ranks, context, layout);
    return foundByLast(ranks, context, [layOutFor(context, batch)], () => find(context, batch, forward));
  }

  /** A weight as the programs of a pass read it. */
  operand(name: string): View {
    return this.context.programs.operand(name);
  }

  /** The logits [V] at each position that predicts a target of a sample, one after the other. */
  async logits(sample: Sample, use: (target: number, logits: Float32Array) => void): Promise<void> {
    const layout = layOutFor(this.context, [sample]);
    const { vocabSize } = this.context.config;
    const chunks = headChunks(layout, 0, LOGITS);
    await readLogits(this.context, layout, chunks, (chunk, all) => {
      const first = chunk * chunks.size;
      for (let i = 0; i < Math.min(chunks.size, layout.rows.length - first); i++)
        use(first + i, all.subarray(i * vocabSize, (i + 1) * vocabSize));
    });
  }

  /** The last stream of a sample, before the final norm, at the positions that predict its targets [targets, D]. */
  async stream(sample: Sample): Promise<Float32Array> {
    const layout = layOutFor(this.context, [sample]);
    const all = (await this.device.download(runStream(this.context, layout))) as Float32Array;
    const width = this.context.config.hiddenSize;
    const found = new Float32Array(layout.rows.length * width);
    for (const [i, row] of layout.rows.entries()) found.set(all.subarray(row * width, (row + 1) * width), i * width);
    return found;
  }

  async dispose(): Promise<void> {
    disposeContext(this.context);
    for (const { buffer } of this.own.values()) this.device.free(buffer);
  }
}

/** A micro-batch as the programs of a pass see it. Throws UserError for an id outside the vocabulary. */
export const layOutFor = ({ config, programs, sharedPrefix }: PassContext, batch: MicroBatch): BatchLayout =>
  layOut(batch, config.vocabSize, programs.rounding, sharedPrefix);

/** How the forward of a micro-batch comes about where other ranks have run a part of it. */
type Forward = (layout: BatchLayout) => Promise<Pass>;

export async function scoreBatch(
  context: PassContext,
  batch: MicroBatch,
  forward?: Forward,
): Promise<ArrayLike<number>[]> {
  const layout = layOutFor(context, batch);
  if (layout.rows.length === 0) return batch.map(() => []);
  const nll = runScores(context, layout, headChunks(layout, 0), await forward?.(layout));
  return logpsOf(batch, await context.device.download(nll));
}

/** Numbers of a micro-batch's marked tokens, one sample behind the other, as each sample's own. */
export function byTarget(batch: MicroBatch, values: ArrayLike<number | bigint>): Float64Array[] {
  let start = 0;
  return batch.map((sample) => {
    const own = Float64Array.from({ length: markedTokens([sample]) }, (_, i) => Number(values[start + i]));
    start += own.length;
    return own;
  });
}

/** The same of negated log-probabilities, as log-probabilities. */
export const logpsOf = (batch: MicroBatch, nll: ArrayLike<number | bigint>): Float64Array[] =>
  byTarget(batch, nll).map((own) => own.map((value) => -value));

export async function evaluateBatch(
  context: PassContext,
  batch: MicroBatch,
  forward?: Forward,
): Promise<{ lossSum: number; supervisedTokens: number }> {
  const layout = layOutFor(context, batch);
  if (layout.rows.length === 0) return { lossSum: 0, supervisedTokens: 0 };
  const losses = runPass(context, layout, headChunks(layout, 1), undefined, await forward?.(layout));
  return { lossSum: sumOf(await context.device.download(losses)), supervisedTokens: layout.rows.length };
}

export const sumOf = (data: ArrayLike<number | bigint>): number => Array.from(data, Number).reduce((a, b) => a + b, 0);

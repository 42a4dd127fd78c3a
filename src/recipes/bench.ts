import { totalTokens } from "../data/batches.js";
import type { Sample } from "../data/sample.js";
import { type LoraConfig, type ModelConfig, weightShapes } from "../models/index.js";
import { type Device, storedBytes, tensor, type View } from "../runtime/index.js";
import { asBytes, type CodecName, random, type Shape, UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { BlockTrainer } from "../training/block-trainer.js";
import { initialAdapter } from "../training/init.js";
import { type BasePrecision, encodeStored, heldAs, storageOf } from "../weights/base-precision.js";
import { encoded } from "../weights/load-model.js";

/** Model shapes that the bench knows, with random weights. */
export const BENCH_SHAPES: Readonly<Record<string, ModelConfig>> = {
  "smollm2-135m": shape({
    hiddenSize: 576,
    intermediateSize: 1536,
    numHiddenLayers: 30,
    numAttentionHeads: 9,
    numKeyValueHeads: 3,
  }),
  "smollm2-360m": shape({
    hiddenSize: 960,
    intermediateSize: 2560,
    numHiddenLayers: 32,
    numAttentionHeads: 15,
    numKeyValueHeads: 5,
  }),
  "tinyllama-1.1b": shape({
    vocabSize: 32000,
    hiddenSize: 2048,
    intermediateSize: 5632,
    numHiddenLayers: 22,
    numAttentionHeads: 32,
    numKeyValueHeads: 4,
    tieWordEmbeddings: false,
  }),
  "llama-2-7b": shape({
    vocabSize: 32000,
    hiddenSize: 4096,
    intermediateSize: 11008,
    numHiddenLayers: 32,
    numAttentionHeads: 32,
    maxPositionEmbeddings: 4096,
    tieWordEmbeddings: false,
  }),
};

function shape(given: Pick<ModelConfig, "hiddenSize" | "numAttentionHeads"> & Partial<ModelConfig>): ModelConfig {
  return {
    vocabSize: 49152,
    intermediateSize: 4 * given.hiddenSize,
    numHiddenLayers: 2,
    numKeyValueHeads: given.numAttentionHeads,
    headDim: given.hiddenSize / given.numAttentionHeads,
    rmsNormEps: 1e-6,
    ropeTheta: 10000,
    maxPositionEmbeddings: 8192,
    tieWordEmbeddings: true,
    attentionBias: false,
    mlpBias: false,
    ...given,
  };
}

/** Rows as (prompt, completion) lengths in tokens; ids are drawn at random from `seed`. */
export interface Workload {
  readonly name: string;
  readonly seed: number;
  readonly batch_size: number;
  readonly rows: readonly (readonly [number, number])[];
}

export interface BenchOptions {
  readonly shape: string;
  readonly lora: LoraConfig;
  readonly checkpointing: boolean;
  /** How the weights are held; native: as f16. Default "f32". */
  readonly basePrecision?: BasePrecision;
  /** With nf4: double quantisation. Default false. */
  readonly bnb4bitUseDoubleQuant?: boolean;
  /** Measured steps after one warm-up step; 0: one pass over the workload. */
  readonly steps: number;
  /** Milliseconds since the process started. */
  readonly now: () => number;
}

/** Trains a workload on a model of random weights and measures it. Throws UserError for an unknown shape. */
export async function benchmark(device: Device, workload: Workload, options: BenchOptions) {
  const config = BENCH_SHAPES[options.shape];
  if (!config)
    throw new UserError(
      `${option("shape", options.shape)}: unknown; known are ${Object.keys(BENCH_SHAPES).join(", ")}`,
    );
  const { basePrecision = "f32", bnb4bitUseDoubleQuant } = options;
  const held = heldAs(basePrecision, device.precision === "reduced" ? "bf16" : "f32", bnb4bitUseDoubleQuant);
  const storage = (name: string, dims: Shape) => storageOf(held, name, dims, "f16");
  const weights = randomWeights(device, config, workload.seed, storage);
  const batches = makeBatches(workload, config.vocabSize);
  const trainer = new BlockTrainer(
    { device, config, weights },
    {
      trainables: { kind: "lora", lora: options.lora },
      ...(await initialAdapter(config, options.lora, 0)),
      optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
      checkpointing: options.checkpointing,
      largestMicroBatch: Math.max(...batches.map(totalTokens)),
      seed: workload.seed,
    },
  );
  const steps = options.steps || batches.length;
  const losses: number[] = [];
  const seconds: number[] = [];
  const rates: number[] = [];
  let tokens = 0;
  let firstStep = 0;
  for (let step = 0; step <= steps; step++) {
    const start = options.now();
    const result = await trainer.step([batches[step % batches.length]!], { lr: 3e-4, maxGradNorm: 1 });
    losses.push(result.loss);
    if (step === 0) firstStep = options.now() / 1000;
    else {
      seconds.push((options.now() - start) / 1000);
      rates.push(result.tokens / seconds.at(-1)!);
      tokens += result.tokens;
    }
  }
  return {
    steps,
    tokens_per_second: round(tokens / seconds.reduce((a, b) => a + b, 0), 1),
    tokens_per_second_best: round(Math.max(...rates), 1),
    step_seconds_median: round(seconds.toSorted((a, b) => a - b)[Math.floor(seconds.length / 2)]!, 3),
    seconds_to_first_step: round(firstStep, 2),
    peak_rss: trainer.peakMemoryBytes(),
    first_loss: round(losses[0]!, 4),
    last_loss: round(losses.at(-1)!, 4),
  };
}

const round = (x: number, digits: number): number => Number(x.toFixed(digits));

/** Values by which each weight begins later in the repeated block than the one before. */
const SHIFT = 32 * 7;

/**
 * Weights of the right scale from one repeated block of normal numbers: values do not matter, time to make them does. No two
 * fp32 ones are the same: an engine keeps equal ones once, and would find in its caches what a real model's step reads from
 * memory. `storage` says how each is held; default: as fp32.
 */
export function randomWeights(
  device: Device,
  config: ModelConfig,
  seed: number,
  storage: (name: string, shape: Shape) => CodecName = () => "f32",
): Map<string, View> {
  const rng = random(seed, "weights");
  const pool = Float32Array.from({ length: 65536 }, () => 0.02 * rng.normal());
  const weights = new Map<string, View>();
  const pools = new Map<CodecName, Uint8Array>();
  for (const [name, dims] of weightShapes(config)) {
    const type = storage(name, dims);
    const dense = type === "f32";
    const from = dense ? 4 * SHIFT * weights.size : 0;
    const view = dense ? tensor(device, "f32", dims) : encoded(device, type, dims);
    const data = new Uint8Array(storedBytes(view));
    if (!pools.has(type)) pools.set(type, dense ? asBytes(pool) : encodeStored("random weights", type, pool));
    if (name.endsWith("norm.weight")) new Float32Array(data.buffer).fill(1);
    else repeat(pools.get(type)!, data, from);
    device.upload(view, data);
    weights.set(name, view);
  }
  return weights;
}

function repeat(pool: Uint8Array, into: Uint8Array, from: number): void {
  for (let at = 0, begin = from % pool.length; at < into.length; begin = 0) {
    const part = pool.subarray(begin, Math.min(pool.length, begin + into.length - at));
    into.set(part, at);
    at += part.length;
  }
}

function makeBatches(workload: Workload, vocabSize: number): Sample[][] {
  const rng = random(workload.seed, "ids");
  const samples = workload.rows.map(([prompt, completion], index) => ({
    index,
    ids: Int32Array.from({ length: prompt + completion }, () => rng.below(vocabSize)),
    supervised: Uint8Array.from({ length: prompt + completion }, (_, i) => Number(i >= Math.max(1, prompt))),
  }));
  return Array.from({ length: Math.ceil(samples.length / workload.batch_size) }, (_, i) =>
    samples.slice(i * workload.batch_size, (i + 1) * workload.batch_size),
  );
}

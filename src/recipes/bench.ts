import type { Sample } from "../data/sample.js";
import { type LlamaConfig, type LoraConfig, weightShapes } from "../models/index.js";
import { type Device, tensor, type View } from "../runtime/index.js";
import { random, sizeOf, UserError } from "../tensor/index.js";
import { BlockTrainer } from "../training/block-trainer.js";
import { initialAdapter } from "../training/init.js";

/** Model shapes that the bench knows, with random weights. */
export const BENCH_SHAPES: Readonly<Record<string, LlamaConfig>> = {
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
};

function shape(given: Pick<LlamaConfig, "hiddenSize" | "numAttentionHeads"> & Partial<LlamaConfig>): LlamaConfig {
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
  /** Measured steps after one warm-up step; 0: one pass over the workload. */
  readonly steps: number;
  /** Milliseconds since the process started. */
  readonly now: () => number;
}

/** Trains a workload on a model of random weights and measures it. Throws UserError for an unknown shape. */
export async function benchmark(device: Device, workload: Workload, options: BenchOptions) {
  const config = BENCH_SHAPES[options.shape];
  if (!config)
    throw new UserError(`--shape ${options.shape}: unknown; known are ${Object.keys(BENCH_SHAPES).join(", ")}`);
  const weights = randomWeights(device, config, workload.seed);
  const trainer = new BlockTrainer(
    { device, config, weights },
    {
      trainables: { kind: "lora", lora: options.lora },
      initial: initialAdapter(config, options.lora, 0),
      optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
      checkpointing: options.checkpointing,
      seed: workload.seed,
    },
  );
  const batches = makeBatches(workload, config.vocabSize);
  const steps = options.steps || batches.length;
  const losses: number[] = [];
  const seconds: number[] = [];
  let tokens = 0;
  let firstStep = 0;
  for (let step = 0; step <= steps; step++) {
    const start = options.now();
    const result = await trainer.step([batches[step % batches.length]!], { lr: 3e-4, maxGradNorm: 1 });
    losses.push(result.loss);
    if (step === 0) firstStep = options.now() / 1000;
    else {
      seconds.push((options.now() - start) / 1000);
      tokens += result.tokens;
    }
  }
  return {
    steps,
    tokens_per_second: round(tokens / seconds.reduce((a, b) => a + b, 0), 1),
    step_seconds_median: round(seconds.toSorted((a, b) => a - b)[Math.floor(seconds.length / 2)]!, 3),
    seconds_to_first_step: round(firstStep, 2),
    peak_rss: trainer.peakMemoryBytes(),
    first_loss: round(losses[0]!, 4),
    last_loss: round(losses.at(-1)!, 4),
  };
}

const round = (x: number, digits: number): number => Number(x.toFixed(digits));

/** Weights of the right scale from one repeated block of normal numbers: values do not matter, time to make them does. */
export function randomWeights(device: Device, config: LlamaConfig, seed: number): Map<string, View> {
  const rng = random(seed, "weights");
  const pool = Float32Array.from({ length: 65536 }, () => 0.02 * rng.normal());
  const weights = new Map<string, View>();
  for (const [name, dims] of weightShapes(config)) {
    const data = new Float32Array(sizeOf(dims));
    if (name.endsWith("norm.weight")) data.fill(1);
    else
      for (let i = 0; i < data.length; i += pool.length)
        data.set(pool.subarray(0, Math.min(pool.length, data.length - i)), i);
    const made = tensor(device, "f32", dims);
    device.upload(made, data);
    weights.set(name, made);
  }
  return weights;
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

import { type AdapterInit, INITS, kindOf, weightNorms } from "../adapters/index.js";
import { gradient, peakBytes, type SavePolicy } from "../graph/index.js";
import {
  adapterSite,
  asAdapted,
  attentionInput,
  attentionOutput,
  cacheBytes,
  distillHead,
  type LinearLora,
  type LinearName,
  lossHead,
  type ModelConfig,
  selfAttention,
} from "../models/index.js";
import { sizeOf } from "../tensor/index.js";
import { type BaseMemory, baseMemory, heldAs } from "../weights/base-precision.js";
import { bucket, CHUNK, TAUGHT_CHUNK } from "./batch-layout.js";
import { PIECE, squaredNorms } from "./flat.js";
import { type LayerPlan, planLayers, planOuter, type Trainables, trainableShapes } from "./layer-plan.js";
import { createOptimizer, type OptimizerName } from "./optimizers/index.js";
import type { Optimizer } from "./optimizers/optimizer.js";
import { type Layout, layoutOf, slotLayouts } from "./parameters.js";
import { inFlight } from "./stages/order.js";
import { isLast, outerIn, type Stage, trainsIn, wholeModel } from "./stages/stage.js";

/** What decides how much memory a run takes. */
export interface ForecastOptions {
  readonly trainables: Trainables;
  /** Tokens of the largest micro-batch, and of its longest sample. */
  readonly tokens: number;
  readonly longest: number;
  /** Targets at which the model is compared with a teacher, or with its base. Default: there are none. */
  readonly kept?: number;
  /** Completions that are sampled at the same time, each as long as the longest sample at most. Default: none are. */
  readonly sampled?: number;
  readonly checkpointing: boolean;
  /** Micro-batches a step: more than one needs two more gradient vectors. */
  readonly accumulation: number;
  /** Default: AdamW. */
  readonly optimizer?: OptimizerName;
  /** Default "cheap". */
  readonly save?: SavePolicy;
  /** How the frozen base is held. Default: as fp32. */
  readonly base?: BaseMemory;
  /** The same of another base that is learned from. Default: there is none. */
  readonly teacher?: BaseMemory;
  /** What the programs of a step compute in. Default "f32". */
  readonly precision?: "f32" | "bf16";
  /** The blocks that this rank holds. Default: all. */
  readonly stage?: Stage | undefined;
  /** Ranks take steps of their own between those at which they agree. Default false. */
  readonly localSteps?: boolean;
}

/** Bytes of a run at its peak, by kind. */
export interface Forecast {
  /** The base, and a copy of its embedding where rows of single tokens are trained. */
  readonly weights: number;
  /** One block and the head as fp32, where the weights are held otherwise. */
  readonly decoded: number;
  /** Trainable tensors with their gradients and what the optimiser keeps, and a start that is taken out of the base. */
  readonly optimizer: number;
  /**
   * On the host: the values that trainable tensors start at, and those and the optimiser's that a checkpoint is written from; with local
   * steps what ranks agree on, its momentum, and both anew where they meet.
   */
  readonly copies: number;
  /** What the forward keeps for the backward, and gradients on their way. */
  readonly activations: number;
  /** Logits and probabilities of one chunk of supervised rows. */
  readonly logits: number;
  /** The largest program's inner results. */
  readonly temporaries: number;
  /** KV caches and logits of completions that are sampled at the same time, all of them as long as they may become. */
  readonly caches: number;
  /** Node, the engine and its code. */
  readonly process: number;
}

/** Resident bytes of Node with ONNX Runtime loaded and the tokenizer of a large vocabulary (measured: 150 to 200 MB). */
const PROCESS_BYTES = 180e6;
const F32 = 4;

/**
 * What depends on the precision. `kept`: bytes of a value that is kept for the backward. `inner`: a program's inner results
 * against those in fp32; `head`: the loss head's, and the copy of its weight that the engine packs. `engine`: what OpenVINO and the kernels
 * that it keeps take; `ragged`: the kernels for more than one length.
 */
const KINDS = {
  f32: { kept: 4, inner: 1, head: 1, engine: 0, ragged: 0 },
  bf16: { kept: 2, inner: 0.5, head: 1.5, engine: 150e6, ragged: 80e6 },
} as const;

/**
 * Forecasts the peak memory of a training run from its graphs alone, before anything is loaded: weights and optimiser by
 * their shapes, activations by what each program saves, temporaries by liveness.
 */
export function forecast(model: ModelConfig, options: ForecastOptions): Forecast {
  const { trainables, checkpointing, save = "cheap", precision = "f32" } = options;
  const { teacher = { weights: 0, decoded: 0 } } = options;
  const { base = baseMemory(model, heldAs("f32", precision), () => "f32") } = options;
  const config = trainables.kind === "lora" ? asAdapted(model, trainables.lora) : model;
  const { kept: half, inner, head, engine, ragged } = KINDS[precision];
  const { stage = wholeModel(config) } = options;
  const n = bucket(options.tokens);
  const plan = planLayers(config, trainables).slice(stage.first, stage.end);
  const typical = plan.at(-1)!;
  const programs = blockPrograms(config, typical, n, Math.min(options.longest, options.tokens), save);
  const lowest = plan.findIndex((p) => p.needsX || p.inputTrainables.length + p.outputTrainables.length > 0);
  const kept = plan.length - Math.max(0, lowest);
  const { hiddenSize: d, numAttentionHeads, numKeyValueHeads, headDim } = config;
  const targets = options.kept ?? 0;
  const heads = (2 * numAttentionHeads + 2 * numKeyValueHeads) * headDim * n * half; // q, k, v, o
  const slots = heads + programs.saved * half;
  const streams = (kept + 1 + Math.min(2, plan.length - kept)) * n * d * F32;
  const flowing = 3 * n * d * F32 + heads; // d_x twice, d_residual; d_q, d_k, d_v, d_o
  const full = trainables.kind === "full";
  const outer = outerIn(stage, planOuter(config, trainables));
  const rows = outer.head?.head ? options.tokens : Math.min(options.tokens, CHUNK);
  const asks = targets > 0 ? targets * d * F32 + 2 * n * d * F32 + heads : 0; // the base's streams; what it is asked with
  const logits = Math.max(
    peakBytes(lossHead(config, n, rows, outer.head ? { weightGradients: outer.head } : {})),
    targets > 0 ? peakBytes(distillHead(config, n, Math.min(options.tokens, TAUGHT_CHUNK))) : 0,
  );
  const own = [...trainableShapes(config, trainables)].filter(([name]) => trainsIn(stage, name));
  const layout = layoutOf(new Map(own));
  const atOnce = stage.count > 1 ? inFlight(stage, options.accumulation) : 1;
  const flat = layout.length * F32;
  const optimizer = createOptimizer({
    ...(options.optimizer ? { name: options.optimizer } : {}),
    ...{ betas: [0, 0], eps: 0, weightDecay: 0 },
  });
  const moments = slotBytes(layout, optimizer);
  const table = outer.tokens.length > 0 ? config.vocabSize * d * F32 : 0;
  return {
    weights: (full ? 0 : base.weights + table) + teacher.weights,
    decoded: (full ? 0 : base.decoded) + teacher.decoded,
    optimizer:
      flat * (3 + (options.accumulation > 1 || targets > 0 ? 2 : 0) + (takesStartOut(trainables) ? 1 : 0)) +
      2 * moments,
    copies: (options.localSteps ? 6 : 2) * flat + moments,
    activations: (streams + slots * (checkpointing ? 1 : kept) + flowing) * atOnce + asks,
    logits: isLast(stage) ? logits * head : 0,
    temporaries: Math.max(programs.temporaries * inner, updateBytes(layout, optimizer)),
    caches: options.sampled ? samplingBytes(config, options.sampled, options.longest) : 0,
    process: PROCESS_BYTES + engine + (options.longest < options.tokens ? ragged : 0),
  };
}

/** Caches of so many texts, whose places are counted in powers of two, and their logits on the device and on the host. */
function samplingBytes(config: ModelConfig, texts: number, longest: number): number {
  const up = (n: number) => 2 ** Math.ceil(Math.log2(Math.max(2, n)));
  return (up(texts) + 1) * cacheBytes(config, up(longest)) + 2 * up(texts) * config.vocabSize * F32;
}

/** Bytes of what an optimiser keeps from step to step; while it takes one, they are there twice. */
function slotBytes(layout: Layout, optimizer: Optimizer): number {
  return F32 * [...slotLayouts(layout, optimizer).values()].reduce((sum, { length }) => sum + length, 0);
}

/** The most bytes that a run of the optimiser, or of the norm by which gradients are clipped, needs beside what it reads and writes. */
function updateBytes({ slots, length }: Layout, optimizer: Optimizer): number {
  if (slots.size === 0) return 0;
  const piece = Math.min(PIECE, length);
  const shapes = optimizer.byTensor ? [...slots.values()].map(({ shape }) => shape) : [[piece]];
  const largest = shapes.reduce((a, b) => (sizeOf(b) > sizeOf(a) ? b : a), []);
  return Math.max(peakBytes(squaredNorms(piece)), peakBytes(optimizer.step(largest)));
}

/** Whether the adapter's start is held beside what is trained. */
function takesStartOut(trainables: Trainables): boolean {
  const init: AdapterInit | undefined = trainables.kind === "lora" ? INITS[trainables.lora.init] : undefined;
  return init?.residual === "subtracted";
}

/** The sum over all kinds. */
export function totalBytes(f: Forecast): number {
  return Object.values(f).reduce((sum: number, bytes: number) => sum + bytes, 0);
}

/** Values that one block's linear programs save for the backward, and the most bytes that one of its programs needs while it runs. */
function blockPrograms(config: ModelConfig, layer: LayerPlan, n: number, t: number, save: SavePolicy) {
  const flows = [...(layer.needsAttention ? ["o"] : []), ...(layer.needsX ? ["x"] : [])];
  const input = attentionInput(config, n, layer.adaptation, layer.kind);
  const attention = gradient(selfAttention(config, t, layer.kind), ["q", "k", "v"], "cheap");
  const linear = [
    gradient(input, [...layer.inputTrainables, ...(layer.needsX ? ["x"] : [])], save),
    gradient(attentionOutput(config, n, layer.adaptation), [...layer.outputTrainables, ...flows], save),
  ];
  const adapted = Object.entries(layer.adaptation.lora ?? {}) as [LinearName, LinearLora][];
  const norms = adapted
    .filter(([, { kind }]) => kindOf(kind).startsAtNorms)
    .map(([name, lora]) => peakBytes(weightNorms("", adapterSite(config, name, lora))));
  let saved = 0;
  let temporaries = Math.max(0, ...norms);
  for (const pair of [attention, ...linear]) {
    const own = pair === attention ? [] : pair.saved;
    for (const name of own) saved += sizeOf(pair.forward.outputs[name]!.shape);
    const backward = Object.keys(pair.backward.outputs).length ? peakBytes(pair.backward) : 0;
    temporaries = Math.max(temporaries, peakBytes(pair.forward), backward);
  }
  return { saved, temporaries };
}

import { foldedWeight, KINDS, type KindName, stackedAdapter, weightNorms } from "../../src/adapters/index.js";
import { causalMask, type Fn, topological, type Value } from "../../src/graph/index.js";
import type { Adaptation, ModelConfig } from "../../src/models/index.js";
import * as models from "../../src/models/index.js";
import { f32, type HostTensor, random, type Shape } from "../../src/tensor/index.js";
import { squaredNorms } from "../../src/training/flat.js";
import { createOptimizer, OPTIMIZERS, type OptimizerName } from "../../src/training/optimizers/index.js";
import { type Case, fill } from "./cases.js";

const BASE: ModelConfig = {
  vocabSize: 19,
  hiddenSize: 12,
  intermediateSize: 20,
  numHiddenLayers: 2,
  numAttentionHeads: 4,
  numKeyValueHeads: 2,
  headDim: 6,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  maxPositionEmbeddings: 64,
  tieWordEmbeddings: true,
  attentionBias: false,
  mlpBias: false,
};

/** Small models that between them have every feature of the family. */
export const CONFIGS: Readonly<Record<string, ModelConfig>> = {
  "grouped queries": BASE,
  "all heads, biases": {
    ...BASE,
    numKeyValueHeads: 4,
    headDim: 4,
    attentionBias: true,
    mlpBias: true,
    tieWordEmbeddings: false,
  },
  "one key head": { ...BASE, numKeyValueHeads: 1, headDim: 2 },
  "norms around branches, caps, windows, a second rope": {
    ...BASE,
    block: "sandwich",
    unitOffsetNorm: true,
    activation: "gelu_tanh",
    qkNorm: "head",
    attentionScale: 0.3,
    attentionSoftcap: 2,
    finalSoftcap: 3,
    embeddingScale: 12 ** 0.5,
    localRope: { theta: 100 },
    layers: [{ rope: "local", window: 3 }, { rope: "global" }],
  },
  "norms behind branches, wide norms of queries, no rope": {
    ...BASE,
    block: "post_norm",
    qkNorm: "width",
    tieWordEmbeddings: false,
    layers: [{ rope: "none" }, { rope: "global" }],
  },
  "fused layers, part of a head turned, multipliers": {
    ...BASE,
    fused: true,
    rotaryDim: 4,
    residualMultiplier: 0.22,
    embeddingScale: 3,
    logitScale: 0.125,
    attentionBias: true,
    outputBias: false,
  },
};

/** Its results for 96 tokens are so large that their memory is bound from outside, where a provider does that. */
export const WIDE: ModelConfig = { ...BASE, vocabSize: 200, hiddenSize: 64, intermediateSize: 192, headDim: 16 };

/** Adapters on every linear layer, some of the second block with a rank and alpha of their own. */
const LORA: models.LoraConfig = {
  r: 3,
  alpha: 5,
  dropout: 0.25,
  useRslora: false,
  init: "gaussian",
  targetModules: Object.keys(models.LINEARS) as models.LinearName[],
  rankPattern: { "layers\\.1\\.mlp\\..*": 1, "1\\.self_attn\\.v_proj": 2 },
  alphaPattern: { "1\\..*\\.down_proj": 4 },
};

/** Those of the first block by another kind, on what is left of the weights, with dropout on. */
const adaptedBy = (kind: KindName): Adaptation => ({
  dropout: LORA.dropout,
  lora: models.blockLora({ ...LORA, kind, init: "pissa" }, 0),
});

const SITE = { out: 5, in: 4, r: 3, scale: 0.5 };

/** Those of the first block, with dropout on. */
export const ADAPTED: Adaptation = { dropout: LORA.dropout, lora: models.blockLora(LORA, 0) };

/** The first layer's. */
const KIND = (config: ModelConfig) => models.layerKind(config, 0);

const ROWS = 3;
const TARGETS = models.SEPARATE;
const DECODE = { rows: 2, tokens: 3, capacity: 4, rank: 0, targets: [] };
const STACKED = { tokens: 1, rank: 8, targets: TARGETS };

/** The head against each kind of teacher. */
export function distillCases(config: ModelConfig, n = 7): [name: string, options: models.DistillHeadOptions][] {
  const divergences = Object.keys(models.DIVERGENCES) as models.DivergenceName[];
  const other = { ...BASE, vocabSize: config.vocabSize - 2, hiddenSize: n };
  return [
    ...divergences.map((divergence): [string, models.DistillHeadOptions] => [
      `distillHead, ${divergence}`,
      { divergence, beta: 0.3, temperature: 1.5 },
    ]),
    ["distillHead, likeliest tokens", { topK: 3, entropy: true }],
    ["distillHead, another base, weights", { teacher: { config: other }, weightGradients: { norm: true, head: true } }],
    ["distillHead, loss only", { forwardOnly: true }],
  ];
}

/** Every function that a training step is made of, for one model and n tokens. */
export function modelCases(config: ModelConfig, n = 7): Case[] {
  const all = (f: Fn) =>
    Object.keys(f.inputs).filter((name) => !/mask|weight_norm|^(cos|sin|ids|rows|labels|weights)/.test(name));
  const one = (name: string, f: Fn, wrt: readonly string[] = all(f)): Case => ({
    name,
    f,
    inputs: valuesFor(f, config),
    wrt,
  });
  return [
    one("embed", models.embed(config, n)),
    one("attentionInput", models.attentionInput(config, n, {}, KIND(config))),
    one("attentionInput with adapters", models.attentionInput(config, n, ADAPTED, KIND(config))),
    one("selfAttention", models.selfAttention(config, n, KIND(config))),
    one("attentionOutput", models.attentionOutput(config, n, {})),
    one("attentionOutput with adapters", models.attentionOutput(config, n, ADAPTED)),
    one("lossHead", models.lossHead(config, n, ROWS, { weightGradients: { norm: true, head: true } }), []),
    one("lossHead, row by row", models.lossHead(config, n, ROWS, { perRow: true }), []),
    one("lossHead, row by row, loss only", models.lossHead(config, n, ROWS, { perRow: true, forwardOnly: true }), []),
    one("lossHead, loss only", models.lossHead(config, n, ROWS, { forwardOnly: true }), []),
    ...distillCases(config, n).map(([name, options]) => one(name, models.distillHead(config, n, ROWS, options), [])),
    one("decode, one token of one text", models.decode(config, { ...DECODE, rows: 1, tokens: 1 }), []),
    one("decode, one token of several texts with adapters", models.decode(config, { ...DECODE, ...STACKED }), []),
    one("decode, several tokens of a text", models.decode(config, { ...DECODE, rows: 1 }), []),
    one(
      "decode, several tokens of several texts with adapters",
      models.decode(config, { ...DECODE, rank: 8, targets: TARGETS }),
      [],
    ),
    one("weightNorms", weightNorms("", { ...SITE, residual: true }), []),
    ...(Object.keys(KINDS) as KindName[]).flatMap((kind) => [
      one(`stackedAdapter, ${kind}`, stackedAdapter({ ...SITE, kind }), []),
      one(`foldedWeight, ${kind}`, foldedWeight({ ...SITE, kind }, 1), []),
      one(`attentionInput with ${kind}`, models.attentionInput(config, n, adaptedBy(kind), KIND(config))),
      one(`attentionOutput with ${kind}`, models.attentionOutput(config, n, adaptedBy(kind))),
    ]),
    one("decode with gains", models.decode(config, { ...DECODE, ...STACKED, gains: TARGETS }), []),
    one("scatterRows", models.scatterRows(config.hiddenSize, n, ROWS), []),
    one("scatterRows, weighted", models.scatterRows(config.hiddenSize, n, ROWS, { weighted: true }), []),
    one("logitsHead", models.logitsHead(config, n, ROWS)),
    one("embedBackward", models.embedBackward(config, n, config.tieWordEmbeddings), []),
    one("squaredNorms", squaredNorms(2048), []),
    ...(Object.keys(OPTIMIZERS) as OptimizerName[]).flatMap((name) => {
      const { step } = createOptimizer({ name, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 });
      return [[1024], [16, 48]].map((shape) => one(`${name} of [${shape}]`, step(shape), []));
    }),
  ];
}

/** The window that a function's attention takes for granted. */
const windowOf = (f: Fn): number =>
  topological(Object.values(f.outputs)).reduce(
    (window, v) => (v.op === "attention" ? (v as Value<"attention">).attrs.window : window),
    0,
  );

/** Random distributions along the last axis, as logarithms. */
function logarithms(shape: Shape, floats: (draw: () => number) => HostTensor): HostTensor {
  const rng = random(4, "logarithms");
  const weights = floats(() => 0.1 + rng.uniform()).data as Float32Array;
  const k = shape[1]!;
  const sum = (row: number) => weights.subarray(row * k, (row + 1) * k).reduce((a, b) => a + b, 0);
  return f32(
    shape,
    weights.map((w, i) => Math.log(w / sum(Math.floor(i / k)))),
  );
}

/** Values for every input of a model function; adapters' B is not zero, a rule that is wrong for A would pass with it. */
export function valuesFor(f: Fn, config: ModelConfig): Record<string, HostTensor> {
  const rng = random(3, f.name);
  return Object.fromEntries(
    Object.entries(f.inputs).map(([name, { shape }]) => {
      const n = shape.reduce((product, d) => product * d, 1);
      const floats = (draw: () => number) => f32(shape, Float32Array.from({ length: n }, draw));
      if (name === "ids" || name === "labels") return [name, fill(name, shape, { ids: config.vocabSize })];
      if (name === "top_ids") return [name, fill(name, shape, { distinctIds: shape[1]! + 2 })];
      if (name === "top_logps") return [name, logarithms(shape, floats)];
      if (name === "rows") return [name, { dtype: "i64", shape, data: BigInt64Array.of(5n, 0n, 3n) }];
      if (name === "weights") return [name, f32(shape, [0.5, 0, 0.25])];
      if (name === "wanted") return [name, fill(name, shape, { ids: f.inputs.ids!.shape[0]! })];
      if (/^last(_\d+)?$/.test(name))
        return [
          name,
          f32(
            shape,
            Float32Array.from({ length: n }, (_, i) => (i % 2 ? -1 : 2)),
          ),
        ];
      if (name === "picked") return [name, floats(() => Number(rng.uniform() < 0.4))];
      if (name === "mask") return [name, f32(shape, causalMask(shape[0]!, windowOf(f)))];
      const [, table, rope = "global"] = /^(cos|sin)(?:_(local))?$/.exec(name) ?? [];
      if (table)
        return [name, models.ropeTables(config, shape[0]!, { rope: rope as models.RopeName })[table as "cos" | "sin"]];
      if (name.endsWith("weight_norm")) return [name, floats(() => 1 + rng.uniform())];
      if (name.endsWith("dropout_mask")) return [name, floats(() => (rng.uniform() < 0.75 ? 4 / 3 : 0))];
      if (/^(second|row|column)_moments$|^keep$|^take$/.test(name)) return [name, floats(() => 0.1 + rng.uniform())];
      if (/norm\.weight$/.test(name)) return [name, floats(() => 1 + 0.2 * rng.normal())];
      return [name, floats(() => (shape.length > 1 ? 0.5 : 1) * rng.normal())];
    }),
  );
}

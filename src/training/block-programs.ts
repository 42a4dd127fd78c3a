import { type Fn, gradientName, OPEN, type SavePolicy } from "../graph/index.js";
import {
  type Adaptation,
  addNoise,
  attentionInput,
  attentionOutput,
  type DistillHeadOptions,
  distillHead,
  embed,
  embedBackward,
  headWeight,
  linearNames,
  logitsHead,
  lossHead,
  type ModelConfig,
  ofValidRows,
  scaleEmbedding,
  scatterRows,
  selfAttention,
  tokenRowsBackward,
  weightName,
} from "../models/index.js";
import type { Device, Program, View } from "../runtime/index.js";
import { bucket, multiple, type Rounding, type Segment } from "./batch-layout.js";
import { sumRows } from "./flat.js";
import type { LayerPlan, OuterPlan } from "./layer-plan.js";
import { type PairOptions, ProgramCache, type ProgramPair } from "./programs.js";

/** Longer samples have attention programs of their own, in which scores of later keys are never computed. */
const LONGEST_OPEN = 384;

/** Samples whose attention is one program of open sizes: every run costs something beside its work. */
const TOGETHER = 4;

/** What is stored as bfloat16 between programs of reduced precision, as is what they save: what their products read and make. */
const HALVES = ["q", "k", "v", "o"].flatMap((name) => [name, gradientName(name)]);

/** What of the head is computed: the loss alone, with the gradients that are wanted; or row by row. */
const HEAD_MODES = {
  loss: { forwardOnly: true },
  rows: {},
  scores: { perRow: true, forwardOnly: true },
  "scored rows": { perRow: true },
} as const;
export type HeadMode = keyof typeof HEAD_MODES;

interface BlockProgramsOptions {
  readonly save: SavePolicy;
  readonly checkpointing: boolean;
  /** A weight or adapter tensor by published name. */
  readonly parameter: (name: string) => View;
  readonly outer: OuterPlan;
}

/**
 * The compiled programs of a model's training step, made on first use and shared by all layers of the same kind. In reduced
 * precision they have open sizes, as that engine takes long to compile a program and hardly longer to run an open one; they
 * read weights that are stored as bfloat16 as they are, and so is what `HALVES` names.
 */
export class BlockPrograms {
  private readonly cache: ProgramCache;
  private readonly config: ModelConfig;
  private readonly save: SavePolicy;
  private readonly reduced: boolean;
  private readonly parameter: (name: string) => View;
  private readonly checkpointing: boolean;
  private readonly outer: OuterPlan;

  constructor(device: Device, config: ModelConfig, { save, checkpointing, parameter, outer }: BlockProgramsOptions) {
    this.outer = outer;
    this.reduced = device.precision === "reduced";
    this.parameter = parameter;
    this.cache = new ProgramCache(device);
    this.config = config;
    this.save = save;
    this.checkpointing = checkpointing;
  }

  embed(n: number): Program {
    return this.cache.single(`embed ${n}`, () => embed(this.config, n));
  }

  /** The embedding's factor, for rows that no program reads; undefined where it is 1. */
  scaleEmbedding(n: number): Program | undefined {
    if ((this.config.embeddingScale ?? 1) === 1) return undefined;
    return this.cache.single(`scale embedding ${n}`, () => scaleEmbedding(this.config, n));
  }

  addNoise(n: number): Program {
    return this.cache.single(`noise ${n}`, () => addNoise(this.config, n));
  }

  private size(n: number): number {
    return this.reduced ? OPEN : n;
  }

  /** A weight or adapter tensor as the programs of a block or the head read it. */
  operand(name: string): View {
    const view = this.parameter(name);
    const { buffer, shape, offset } = view;
    return this.isHalf(view) ? { buffer, dtype: "bf16", shape, offset } : view;
  }

  /** Programs of open sizes take any; what an engine makes for each still costs it time and memory. */
  get rounding(): Rounding {
    return this.reduced
      ? { tokens: multiple(8), exact: LONGEST_OPEN, together: TOGETHER }
      : { tokens: bucket, exact: Number.POSITIVE_INFINITY, together: 1 };
  }

  /** The dtype of `q`, `k`, `v`, `o` and their gradients. */
  get between(): "bf16" | "f32" {
    return this.reduced ? "bf16" : "f32";
  }

  private isHalf({ codec, buffer }: View): boolean {
    return this.reduced && codec === "bf16" && !buffer.inFile;
  }

  /** The linear layers of a block whose weights are stored as bfloat16. */
  private halfLinears(layer: LayerPlan): string[] {
    const names = linearNames(this.config).map((name) => `${name}.weight`);
    return names.filter((name) => this.isHalf(this.parameter(weightName(name, layer.index))));
  }

  private pair(
    key: string,
    make: () => Fn,
    options: Omit<PairOptions, "precision" | "halves">,
    weights: readonly string[] = [],
  ): ProgramPair {
    const halves = this.reduced ? { halves: new Set([...HALVES, ...weights]) } : {};
    return this.cache.pair(`${key} ${weights}`, make, { ...options, precision: "reduced", ...halves });
  }

  /** Norm, q, k, v of a block. Its backward adds `d_residual`, the gradient that reaches x around the block's attention. */
  input(layer: LayerPlan, tokens: number, train: boolean): ProgramPair {
    const n = this.size(tokens);
    const adaptation = train ? layer.adaptation : { ...layer.adaptation, dropout: 0 };
    const wrt = train ? [...layer.inputTrainables, ...(layer.needsX ? ["x"] : [])] : [];
    const make = () => {
      const f = attentionInput(this.config, n, adaptation, layer.kind);
      return layer.needsX ? { ...f, outputs: { ...f.outputs, residual: f.inputs.x! } } : f;
    };
    const { save } = this;
    const options = { wrt, save, drop: ["residual"] };
    const part = layer.kind.rope === "none" ? "input without positions" : "input";
    return this.pair(key(part, n, adaptation, wrt), make, options, this.halfLinears(layer));
  }

  /** Attention of a group of samples, each over its span of rows. Names are those of `selfAttention` with `.0`, `.1`, ... */
  attention(group: readonly Segment[], layer: LayerPlan, train: boolean): ProgramPair {
    const { span } = group[0]!;
    const { window } = layer.kind;
    const long = span > this.rounding.exact;
    const t = long ? span : this.size(span);
    const key = `attention ${t} ${group.length} ${train} ${window ?? ""}`;
    return this.pair(key, () => selfAttention(this.config, t, layer.kind), {
      wrt: train ? ["q", "k", "v"] : [],
      save: "cheap",
      count: group.length,
      ...(long && train ? { adjust: ofValidRows } : {}),
    });
  }

  /** Output projection and MLP of a block. */
  output(layer: LayerPlan, tokens: number, train: boolean): ProgramPair {
    const n = this.size(tokens);
    const adaptation = train ? layer.adaptation : { ...layer.adaptation, dropout: 0 };
    const flows = [...(layer.needsAttention ? ["o"] : []), ...(layer.needsX ? ["x"] : [])];
    const wrt = train ? [...layer.outputTrainables, ...flows] : [];
    const { save } = this;
    const make = () => attentionOutput(this.config, n, adaptation);
    const options = { wrt, save, again: train && this.checkpointing };
    return this.pair(key("output", n, adaptation, wrt), make, options, this.halfLinears(layer));
  }

  /** The head, for what of it is needed; `entropy` is for the modes that go row by row. */
  head(tokens: number, rows: number, mode: HeadMode, entropy = false): Program {
    const [n, m] = [this.size(tokens), this.size(rows)];
    const wanted = mode === "rows" && this.outer.head ? { weightGradients: this.outer.head } : {};
    const options = { ...HEAD_MODES[mode], ...wanted, entropy, dtype: this.headType() } as const;
    const make = () => lossHead(this.config, n, m, options);
    return this.cache.single(`head ${n} ${m} ${mode}${entropy ? " with entropy" : ""}`, make, "reduced");
  }

  /** The head of rows that are compared with a teacher's. */
  distillHead(tokens: number, rows: number, mode: "loss" | "rows", options: DistillHeadOptions): Program {
    const [n, m] = [this.size(tokens), this.size(rows)];
    const wanted = mode === "rows" && this.outer.head ? { weightGradients: this.outer.head } : {};
    const all = { ...options, ...HEAD_MODES[mode], ...wanted, dtype: this.headType() };
    const make = () => distillHead(this.config, n, m, all);
    return this.cache.single(`distill head ${n} ${m} ${JSON.stringify(all)}`, make, "reduced");
  }

  /** The head's logits. */
  logits(tokens: number, rows: number): Program {
    return this.cache.single(`logits ${tokens} ${rows}`, () => logitsHead(this.config, tokens, rows));
  }

  private headType(): "bf16" | "f32" {
    return this.isHalf(this.parameter(headWeight(this.config))) ? "bf16" : "f32";
  }

  scatterRows(n: number, m: number, weighted: boolean): Program {
    const make = () => scatterRows(this.config.hiddenSize, n, m, { weighted });
    return this.cache.single(`scatter ${n} ${m} ${weighted}`, make);
  }

  embedBackward(n: number): Program {
    return this.cache.single(`embed backward ${n}`, () => embedBackward(this.config, n, this.config.tieWordEmbeddings));
  }

  /** The gradient of trained rows of the embedding. */
  tokenRowsBackward(n: number): Program {
    const make = () => tokenRowsBackward(this.config, n, this.outer.tokens.length, (this.outer.head?.tokens ?? 0) > 0);
    return this.cache.single(`token rows backward ${n}`, make);
  }

  /** The sum of rows [count, n], one after the other. */
  sumRows(count: number, n: number): Program {
    return this.cache.single(`sum ${count} ${n}`, () => sumRows(count, n));
  }

  dispose(): void {
    this.cache.dispose();
  }
}

/** Layers share a program when their adapters have the same ranks and scales, and the same inputs are trained. */
const key = (part: string, n: number, { lora, dropout = 0 }: Adaptation, wrt: readonly string[]): string =>
  `${part} ${n} ${JSON.stringify(lora)} ${dropout > 0} ${wrt.join()}`;

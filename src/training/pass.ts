import { copyName, gradientName, type Spec, sized } from "../graph/index.js";
import {
  dropoutMaskName,
  EMBEDDING,
  HEAD,
  type LinearName,
  linearNames,
  linearShape,
  outerNames,
  type RopeName,
  ropeNames,
  rotaryPairs,
  TOKEN_ROWS,
  weightName,
} from "../models/index.js";
import { copyRows, type Program, reshaped, rowsOf, type View } from "../runtime/index.js";
import type { DType, Shape } from "../tensor/index.js";
import { type BatchLayout, type HeadChunks, positionsOf, type Segment, textLength } from "./batch-layout.js";
import type { LayerPlan } from "./layer-plan.js";
import { embeddingNoise } from "./neftune.js";
import type { PassContext, TrainPass } from "./pass-context.js";
import { PassHead, tokenSlots, type WholeMode } from "./pass-head.js";
import type { Lesson } from "./teacher.js";

/** What a block is given and what its attention makes: x [N, D] and o [N, H hd]. */
export type BlockValues = Readonly<Record<"x" | "o", View>>;

/** A pass over one micro-batch, step by step; everything only queues. */
export class Pass {
  readonly head: PassHead;
  private readonly c: PassContext;
  private readonly batch: BatchLayout;
  private readonly train: TrainPass | undefined;
  private readonly n: number;
  private readonly rotations: ReadonlyMap<RopeName, Record<"cos" | "sin", View>>;
  /** The linear layer whose adapter's input a mask drops parts of, by the mask's name. */
  private readonly masked: ReadonlyMap<string, LinearName>;

  constructor(context: PassContext, batch: BatchLayout, train: TrainPass | undefined) {
    this.c = context;
    this.batch = batch;
    this.train = train;
    this.n = batch.padded;
    context.activations.begin(batch);
    context.norms.refresh();
    context.table?.refresh();
    if (context.table && train)
      // before the ids themselves are handed over
      context.device.upload(this.scratch("token_slots", [this.n], "i64"), tokenSlots(context.outer.tokens, batch.ids));
    const last = context.stage.end;
    this.head = new PassHead({
      context,
      n: this.n,
      x: () => this.stream(last),
      dX: () => this.flowing(last),
      run: this.run.bind(this),
    });
    this.rotations = this.rotationsByToken();
    this.masked = new Map(linearNames(context.config).map((name) => [dropoutMaskName(name), name]));
  }

  /** The rotary tables' rows of each token's position [N, rotaryDim/2]; those of filling count for nothing. */
  private rotationsByToken(): Map<RopeName, Record<"cos" | "sin", View>> {
    const { device, attention, config } = this.c;
    const { segments } = this.batch;
    attention.reach(Math.max(...segments.map((s) => s.length)));
    const byToken = (rope: RopeName) => {
      const table = (name: "cos" | "sin") => this.scratch(`${name} ${rope}`, [this.n, rotaryPairs(config)]);
      const all = { cos: table("cos"), sin: table("sin") };
      for (const segment of segments) {
        const own = attention.rotation(rope, textLength(segment));
        for (const { row, from, count } of positionsOf(segment))
          for (const name of ["cos", "sin"] as const)
            device.copy(rowsOf(own[name], from, count), rowsOf(all[name], row, count));
      }
      return all;
    };
    return new Map(ropeNames(config).map((rope) => [rope, byToken(rope)]));
  }

  /** What the input programs of a layer read to rotate. */
  private rotationsOf({ kind: { rope } }: LayerPlan): Record<string, View> {
    return rope === "none" ? {} : this.rotations.get(rope)!;
  }

  /** Through all blocks of the stage, from what the stage before it made [N, D], or from the ids. */
  forward(given?: Float32Array): void {
    if (given) this.c.device.upload(this.stream(this.c.stage.first), given);
    else this.embed();
    for (const layer of this.c.plan) this.forwardLayer(layer);
  }

  embed(): void {
    const { device, programs } = this.c;
    const table = this.c.parameter(EMBEDDING);
    if (table.codec) this.embedDecoded(table);
    else {
      const ids = this.scratch("ids", [this.n], "i64");
      device.upload(ids, this.batch.ids);
      this.run(programs.embed(this.n), { ids }, { x: this.stream(0) });
    }
    this.addNoise();
  }

  /** Noise on what the first block reads, in training alone. */
  private addNoise(): void {
    if (!this.train?.noise) return;
    const { seed, labels, before, noise: alpha } = this.train;
    const y = this.stream(0);
    const x = this.scratch("embedded", y.shape);
    const noise = this.scratch("noise", y.shape);
    this.c.device.copy(y, x);
    this.c.device.upload(noise, embeddingNoise(this.batch, y.shape[1]!, alpha, seed, labels, before));
    this.run(this.c.programs.addNoise(this.n), { x, noise }, { y });
  }

  /** The rows of an encoded table, and the embedding's factor on them. */
  private embedDecoded(table: View): void {
    const { device, programs } = this.c;
    const scaled = programs.scaleEmbedding(this.n);
    const x = this.stream(0);
    const rows = scaled ? this.scratch("embedded", x.shape) : x;
    copyRows(device, table, Array.from(this.batch.ids, Number), rows);
    if (scaled) this.run(scaled, { x: rows }, { y: x });
  }

  /** Block `layer` from its input stream to the next; fills its slots. `again`: the next stream is there already. */
  forwardLayer(layer: LayerPlan, again = false): BlockValues {
    const { programs } = this.c;
    const train = this.train !== undefined;
    const x = this.stream(layer.index);
    const input = programs.input(layer, this.n, train);
    const { q, k, v, o } = this.heads(layer);
    const made = { q: this.own(q), k: this.own(k), v: this.own(v), ...this.saved(layer, "in", input.saved) };
    this.run(input.forward, { x, ...this.rotationsOf(layer) }, made, layer);
    for (const group of this.batch.groups)
      this.run(
        programs.attention(group, layer, train).forward,
        this.attended(group, layer, { q, k, v }),
        this.headRows(group, { o }),
      );
    this.zeroFilling(o);
    const output = programs.output(layer, this.n, train);
    const program = again ? output.again : output.forward;
    const results = { y: this.stream(layer.index + 1), ...this.saved(layer, "out", output.saved) };
    if (program) this.run(program, { x, o: this.own(o) }, results, layer);
    return { x, o: this.own(o) };
  }

  /** Loss over the supervised rows, and the gradient of the last stream. */
  loss(chunks: HeadChunks): View {
    return this.head.loss(chunks, ...this.headMode());
  }

  /** The same of what a teacher says of these rows. */
  teach(chunks: HeadChunks, lesson: Lesson): View {
    return this.head.teach(chunks, lesson, ...this.headMode());
  }

  /** What is asked of the head, and where the gradients of its weights go. */
  private headMode(): [mode: WholeMode, gradients: Record<string, View>] {
    if (!this.train) return ["loss", {}];
    const { config, outer } = this.c;
    const { norm, head, tokens } = outer.head ?? {};
    const { gradient } = this.train;
    // With a tied head its gradient waits in scratch until the embedding's is known.
    return [
      "rows",
      {
        ...(norm ? { "d_norm.weight": gradient("model.norm.weight") } : {}),
        ...(head ? { "d_lm_head.weight": config.tieWordEmbeddings ? this.headScratch() : gradient(HEAD) } : {}),
        ...(tokens ? { d_token_rows: this.rowsScratch() } : {}),
      },
    ];
  }

  /** Through all blocks of the stage, from the gradient of its last stream [N, D] that the next stage gave, or that of the loss. */
  backward(given?: Float32Array): void {
    const { plan, checkpointing, stage } = this.c;
    if (given) this.c.device.upload(this.flowing(stage.end), given);
    for (const layer of plan.toReversed()) {
      if (!layer.needsX && !layer.inputTrainables.length && !layer.outputTrainables.length) break;
      if (checkpointing && layer !== plan.at(-1)) this.forwardLayer(layer, true); // the last one's slots are as it left them
      this.backwardLayer(layer);
    }
    if (this.c.outer.embedding) this.backwardEmbedding();
    if (this.c.table) this.backwardTokens();
  }

  private backwardLayer(layer: LayerPlan): void {
    const { programs } = this.c;
    const x = this.stream(layer.index);
    const { q, k, v, o } = this.heads(layer);
    const [dO, dQ, dK, dV] = [o, q, k, v].map((view, i) => this.scratch(`d_${"oqkv"[i]}`, view.shape, view.dtype)) as [
      View,
      View,
      View,
      View,
    ];
    const residual = this.scratch("d_residual", x.shape);
    const output = programs.output(layer, this.n, true);
    const outputFeeds = {
      x,
      o: this.own(o),
      d_y: this.flowing(layer.index + 1),
      ...this.saved(layer, "out", output.saved),
    };
    const outputResults = { d_o: this.own(dO), d_x: residual, ...this.gradients(layer, layer.outputTrainables) };
    this.run(output.backward!, outputFeeds, outputResults, layer);
    if (!layer.needsAttention) return;
    for (const group of this.batch.groups) {
      const feeds = this.attended(group, layer, { q, k, v, o, d_o: dO });
      this.run(
        programs.attention(group, layer, true).backward!,
        feeds,
        this.headRows(group, { d_q: dQ, d_k: dK, d_v: dV }),
      );
    }
    for (const view of [dQ, dK, dV]) this.zeroFilling(view);
    const input = programs.input(layer, this.n, true);
    const gradients = { d_q: this.own(dQ), d_k: this.own(dK), d_v: this.own(dV), d_residual: residual };
    const inputFeeds = { x, ...gradients, ...this.rotationsOf(layer), ...this.saved(layer, "in", input.saved) };
    const inputResults = { d_x: this.flowing(layer.index), ...this.gradients(layer, layer.inputTrainables) };
    this.run(input.backward!, inputFeeds, inputResults, layer);
  }

  private backwardEmbedding(): void {
    const feeds = {
      ids: this.scratch("ids", [this.n], "i64"),
      d_x: this.flowing(0),
      "d_lm_head.weight": this.headScratch(),
    };
    const gradient = this.train!.gradient(EMBEDDING);
    this.run(this.c.programs.embedBackward(this.n), feeds, { "d_embed_tokens.weight": gradient });
  }

  private backwardTokens(): void {
    const { programs } = this.c;
    const feeds = {
      token_slots: this.scratch("token_slots", [this.n], "i64"),
      d_x: this.flowing(0),
      d_token_rows: this.rowsScratch(),
    };
    this.run(programs.tokenRowsBackward(this.n), feeds, { d_rows: this.train!.gradient(TOKEN_ROWS) });
  }

  private rowsScratch(): View {
    return this.scratch("d_token_rows", [this.c.outer.tokens.length, this.c.config.hiddenSize]);
  }

  private headScratch(): View {
    return this.scratch("d_lm_head", [this.c.config.vocabSize, this.c.config.hiddenSize]);
  }

  /** q, k, v and o with the rows that attention touches behind the batch's own. */
  private heads(layer: LayerPlan): { q: View; k: View; v: View; o: View } {
    const { numAttentionHeads, numKeyValueHeads, headDim } = this.c.config;
    const dtype = this.c.programs.between;
    const { extent } = this.batch;
    const slot = (name: string, width: number) => this.slot(layer, name, [extent, width], dtype);
    const kv = numKeyValueHeads * headDim;
    const all = numAttentionHeads * headDim;
    return { q: slot("q", all), k: slot("k", kv), v: slot("v", kv), o: slot("o", all) };
  }

  /** The rows of the batch's own tokens. */
  private own(view: View): View {
    return rowsOf(view, 0, this.n);
  }

  /** Each sample's span of views [rows, heads hd], as [span, heads, hd], under the name of the view and the sample's number. */
  private headRows(group: readonly Segment[], views: Readonly<Record<string, View>>): Record<string, View> {
    const { headDim } = this.c.config;
    const named: Record<string, View> = {};
    for (const name in views) {
      const view = views[name]!;
      for (const [i, { start, span }] of group.entries())
        named[copyName(name, i)] = reshaped(rowsOf(view, start, span), [span, view.shape[1]! / headDim, headDim]);
    }
    return named;
  }

  /** The same with what the attention of every sample reads beside them. */
  private attended(
    group: readonly Segment[],
    { kind: { window } }: LayerPlan,
    views: Readonly<Record<string, View>>,
  ): Record<string, View> {
    const named = this.headRows(group, views);
    for (const [i, segment] of group.entries()) {
      const { mask, valid } = this.c.attention.get(segment, window);
      named[copyName("mask", i)] = mask;
      named[copyName("valid", i)] = valid;
    }
    return named;
  }

  /** What a program keeps for its backward beside its outputs, under the program's own names. */
  private saved(layer: LayerPlan, part: string, saved: ReadonlyMap<string, Spec>): Record<string, View> {
    const views: Record<string, View> = {};
    for (const [name, { dtype, shape }] of saved) {
      views[name] = this.slot(layer, `${part} ${name}`, sized(shape, this.n), dtype);
    }
    return views;
  }

  /** Filling rows carry no sequence: they stay zero, so that nothing they touch can add to a gradient. */
  private zeroFilling(view: View): void {
    const { tokens, padded } = this.batch;
    if (tokens === padded) return;
    const zeros = this.scratch(`zeros ${view.shape[1]}`, [padded - tokens, view.shape[1]!], view.dtype);
    this.c.device.copy(zeros, rowsOf(view, tokens, padded - tokens));
  }

  /** Gradients of parameters of a layer, as the programs that make them call them. */
  private gradients(layer: LayerPlan, names: readonly string[]): Record<string, View> {
    const gradient = (name: string) => this.train!.gradient(weightName(name, layer.index));
    return Object.fromEntries(names.map((name) => [gradientName(name), gradient(name)]));
  }

  /** Runs a program; inputs not given are weights and dropout masks, of the layer where there is one. */
  private run(program: Program, feeds: Record<string, View>, outputs: Record<string, View>, layer?: LayerPlan): void {
    const inputs: Record<string, View> = {};
    for (const name of program.inputs) inputs[name] = feeds[name] ?? this.input(name, layer);
    this.c.device.run(program, inputs, outputs);
  }

  private input(name: string, layer: LayerPlan | undefined): View {
    if (!layer) return this.c.programs.operand(outerNames(this.c.config)[name]!);
    const masked = this.masked.get(name);
    if (!masked) return this.c.programs.operand(weightName(name, layer.index));
    const [, width] = linearShape(this.c.config, masked);
    const mask = this.scratch(name, [this.n, width]);
    const { seed, labels, before = 0 } = this.train!;
    const keep = 1 - layer.adaptation.dropout!;
    const skip = before * width;
    this.c.device.upload(mask, { keep, seed, labels: ["dropout", ...labels, layer.index, name], skip });
    return mask;
  }

  stream(layer: number): View {
    return this.c.activations.stream(layer, this.n, this.train !== undefined);
  }

  private slot(layer: LayerPlan, name: string, shape: Shape, dtype: DType): View {
    return this.c.activations.slot(layer.index, name, shape, dtype, this.train !== undefined);
  }

  /** The gradient of stream `layer`: two buffers take turns. */
  flowing(layer: number): View {
    return this.scratch(`d_x ${layer % 2}`, [this.n, this.c.config.hiddenSize]);
  }

  private scratch(name: string, shape: Shape, dtype: DType = "f32"): View {
    return this.c.activations.scratch(name, shape, dtype);
  }
}

import { headWeight, TEACHER } from "../models/index.js";
import { type Program, reshaped, rowsOf, type View } from "../runtime/index.js";
import type { DType, Shape } from "../tensor/index.js";
import type { HeadChunks } from "./batch-layout.js";
import type { HeadMode } from "./block-programs.js";
import type { PassContext } from "./pass-context.js";
import type { Lesson } from "./teacher.js";

/** Modes of a head whose shares in the loss are known beforehand. */
export type WholeMode = Extract<HeadMode, "loss" | "rows">;

/** What a head says of each row [chunks * size]: the negated log-probability of its label, and the entropy of its distribution. */
export interface RowScores {
  readonly nll: View;
  readonly entropy?: View;
}

/** The pass that a head ends. */
export interface HeadOf {
  readonly context: PassContext;
  /** Rows of the micro-batch, with filling. */
  readonly n: number;
  /** The last stream [N, D]. */
  readonly x: () => View;
  /** Where its gradient goes. */
  readonly dX: () => View;
  readonly run: (program: Program, feeds: Record<string, View>, outputs: Record<string, View>) => void;
}

/** The place of each token id among trained ones; behind the last where it is none of them. */
export function tokenSlots(tokens: readonly number[], ids: BigInt64Array): BigInt64Array {
  const slots = new Map(tokens.map((id, slot) => [BigInt(id), BigInt(slot)]));
  return ids.map((id) => slots.get(id) ?? BigInt(tokens.length));
}

/** Final norm, head and loss of a pass, over its rows with a target, chunk by chunk. */
export class PassHead {
  private readonly of: HeadOf;

  constructor(of: HeadOf) {
    this.of = of;
  }

  /** Loss over the rows, and with "rows" the gradient of the last stream; `gradients` are places of the weights' that are wanted. */
  loss(chunks: HeadChunks, mode: WholeMode, gradients: Readonly<Record<string, View>> = {}): View {
    const losses = this.scratch("losses", [chunks.count]);
    this.whole(this.program(chunks, mode), chunks, {}, (i) => ({ loss: rowsOf(losses, i, 1) }), gradients);
    if (mode !== "loss") this.scatter(chunks, false);
    return losses;
  }

  /** Runs a program over the rows, and adds up what it makes of `gradients` chunk by chunk. */
  private whole(
    program: Program,
    chunks: HeadChunks,
    more: Readonly<Record<string, View>>,
    results: (chunk: number) => Record<string, View>,
    gradients: Readonly<Record<string, View>>,
  ): void {
    const { count } = chunks;
    const parts = new Map(
      Object.entries(gradients).map(([name, { shape }]) => [name, this.scratch(`parts of ${name}`, [count, ...shape])]),
    );
    const places = (i: number) =>
      count === 1
        ? gradients
        : Object.fromEntries(
            [...parts].map(([name, all]) => [name, reshaped(rowsOf(all, i, 1), gradients[name]!.shape)]),
          );
    this.chunks(program, chunks, more, (i) => ({ ...results(i), ...places(i) }));
    if (count > 1) for (const [name, all] of parts) this.sum(all, gradients[name]!);
  }

  /** The sum of parts [count, ...] of a gradient. */
  private sum(parts: View, into: View): void {
    const width = into.shape.reduce((a, b) => a * b);
    const [count] = parts.shape as [number];
    const program = this.of.context.programs.sumRows(count, width);
    this.of.run(program, { rows: reshaped(parts, [count, width]) }, { sum: reshaped(into, [width]) });
  }

  /**
   * How far the rows' distributions are from a teacher's, and their entropies [2, chunks], both weighted sums by chunk; with any mode
   * but "loss" also the gradient of the last stream, and with `gradients` those of the weights.
   */
  teach(
    chunks: HeadChunks,
    { settings, told, teacher, entropy = false }: Lesson,
    mode: WholeMode,
    gradients: Readonly<Record<string, View>> = {},
  ): View {
    const { context, n } = this.of;
    const { size, count } = chunks;
    const found = this.scratch("divergences", [2 * count]);
    const program = context.programs.distillHead(n, size, mode, {
      ...settings,
      ...(teacher ? { teacher: { config: teacher.config, dtype: teacher.dtype } } : {}),
      entropy,
    });
    const feeds = { ...teacher?.weights, ...this.uploaded(told, count * size) };
    const results = (i: number) => ({ loss: rowsOf(found, i, 1), entropy: rowsOf(found, count + i, 1) });
    this.whole(program, chunks, feeds, results, gradients);
    if (mode !== "loss") this.scatter(chunks, false);
    return found;
  }

  /** What a teacher said, with rows of zeros up to so many. */
  private uploaded(told: Lesson["told"], rows: number): Record<string, View> {
    const { device } = this.of.context;
    const filled = <T extends Float32Array | BigInt64Array>(into: T, values: T) => {
      into.set(values as never);
      return into;
    };
    const floats = (name: string, values: Float32Array, width: number) => {
      const view = this.scratch(name, [rows, width]);
      device.upload(view, filled(new Float32Array(rows * width), values));
      return view;
    };
    if (told.kind === "stream") return { teacher: floats("teacher rows", told.values, told.width) };
    const ids = this.scratch("teacher ids", [rows, told.k], "i64");
    device.upload(ids, filled(new BigInt64Array(rows * told.k), told.ids));
    return { top_ids: ids, top_logps: floats("teacher logps", told.logps, told.k + 1) };
  }

  /** Logits of the rows, chunk by chunk, each [size, V]. */
  async logits(chunks: HeadChunks, use: (chunk: number, logits: Float32Array) => void): Promise<void> {
    const { context, n } = this.of;
    const { device, config, programs } = context;
    const logits = this.scratch("logits", [chunks.size, config.vocabSize]);
    const rows = this.scratch("rows", [chunks.size], "i64");
    const weight = context.parameter(headWeight(config));
    for (let i = 0; i < chunks.count; i++) {
      device.upload(rows, chunks.rows.slice(i * chunks.size, (i + 1) * chunks.size));
      this.of.run(programs.logits(n, chunks.size), { x: this.of.x(), rows, "lm_head.weight": weight }, { logits });
      use(i, (await device.download(logits)) as Float32Array);
    }
  }

  /** The negated log-probability of each row, its distribution's entropy where asked, and with "scored rows" its gradient for a share of 1. */
  scores(chunks: HeadChunks, mode: "scores" | "scored rows", withEntropy = false): RowScores {
    const { size, count } = chunks;
    const byRow = (name: string) => this.scratch(name, [count * size]);
    const found = { nll: byRow("nll"), ...(withEntropy ? { entropy: byRow("entropy") } : {}) };
    const part = (i: number) =>
      Object.fromEntries(Object.entries(found).map(([name, view]) => [name, rowsOf(view, i * size, size)]));
    this.chunks(this.of.context.programs.head(this.of.n, size, mode, withEntropy), chunks, {}, part);
    return found;
  }

  /** The gradient of the last stream, from those that `scores` left and the shares of the rows. */
  weigh(chunks: HeadChunks): void {
    this.of.context.device.upload(this.views(chunks).weights, chunks.weights);
    this.scatter(chunks, true);
  }

  private program({ size }: HeadChunks, mode: HeadMode): Program {
    return this.of.context.programs.head(this.of.n, size, mode);
  }

  private views({ size, count }: HeadChunks) {
    return {
      rows: this.scratch("rows", [count * size], "i64"),
      labels: this.scratch("labels", [count * size], "i64"),
      weights: this.scratch("weights", [count * size]),
      d_rows: this.scratch("d_rows", [count * size, this.of.context.config.hiddenSize]),
    };
  }

  /**
   * Runs a program over the rows; `more` has a row for each of them but for the teacher's weights, `results` are the places of a chunk's
   * outputs beside `d_rows`.
   */
  private chunks(
    program: Program,
    chunks: HeadChunks,
    more: Readonly<Record<string, View>>,
    results: (chunk: number) => Record<string, View>,
  ): void {
    const { device } = this.of.context;
    const { size, count } = chunks;
    const { d_rows: dRows, ...views } = this.views(chunks);
    const { label_slots: slots, ...tokens } = program.inputs.includes("token_rows") ? this.tokens(chunks) : {};
    device.upload(views.rows, chunks.rows);
    device.upload(views.labels, chunks.labels);
    device.upload(views.weights, chunks.weights);
    const x = this.of.x();
    const byRow = { ...views, ...more, ...(slots ? { label_slots: slots } : {}) };
    for (let i = 0; i < count; i++) {
      const part = (view: View) => rowsOf(view, i * size, size);
      const own = Object.fromEntries(
        Object.entries(byRow).map(([name, view]) => [name, name.startsWith(TEACHER) ? view : part(view)]),
      );
      this.of.run(program, { x, ...own, ...tokens }, { ...results(i), d_rows: part(dRows) });
    }
  }

  /** Which rows of the head are trained, and which of them each label is. */
  private tokens({ labels }: HeadChunks): Record<string, View> {
    const { device, outer } = this.of.context;
    const views = {
      token_rows: this.scratch("token_rows", [outer.tokens.length], "i64"),
      label_slots: this.scratch("label_slots", [labels.length], "i64"),
    };
    device.upload(views.token_rows, BigInt64Array.from(outer.tokens, BigInt));
    device.upload(views.label_slots, tokenSlots(outer.tokens, labels));
    return views;
  }

  /** Puts the rows' gradients back where the rows come from. */
  private scatter(chunks: HeadChunks, weighted: boolean): void {
    const program = this.of.context.programs.scatterRows(this.of.n, chunks.count * chunks.size, weighted);
    this.of.run(program, this.views(chunks), { d_x: this.of.dX() });
  }

  private scratch(name: string, shape: Shape, dtype: DType = "f32"): View {
    return this.of.context.activations.scratch(name, shape, dtype);
  }
}

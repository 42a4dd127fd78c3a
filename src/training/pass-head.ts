import type { Program, View } from "../runtime/index.js";
import { reshaped, rowsOf } from "../runtime/index.js";
import type { DType, Shape } from "../tensor/index.js";
import type { HeadChunks } from "./batch-layout.js";
import type { HeadMode } from "./block-programs.js";
import type { PassContext } from "./pass-context.js";

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
  loss(chunks: HeadChunks, mode: "loss" | "rows", gradients: Readonly<Record<string, View>> = {}): View {
    const { count } = chunks;
    const losses = this.scratch("losses", [count]);
    const parts = new Map(
      Object.entries(gradients).map(([name, { shape }]) => [name, this.scratch(`parts of ${name}`, [count, ...shape])]),
    );
    const places = (i: number) =>
      count === 1
        ? gradients
        : Object.fromEntries(
            [...parts].map(([name, all]) => [name, reshaped(rowsOf(all, i, 1), gradients[name]!.shape)]),
          );
    this.chunks(this.program(chunks, mode), chunks, {}, (i) => ({ loss: rowsOf(losses, i, 1), ...places(i) }));
    if (count > 1) for (const [name, all] of parts) this.sum(all, gradients[name]!);
    if (mode !== "loss") this.scatter(chunks, false);
    return losses;
  }

  /** The sum of parts [count, ...] of a gradient. */
  private sum(parts: View, into: View): void {
    const width = into.shape.reduce((a, b) => a * b);
    const [count] = parts.shape as [number];
    const program = this.of.context.programs.sumRows(count, width);
    this.of.run(program, { rows: reshaped(parts, [count, width]) }, { sum: reshaped(into, [width]) });
  }

  /** KL(base || model) at the rows, and where it is asked for the gradient of the last stream. `base`: the base's last stream at them, in their order. */
  keep(chunks: HeadChunks, base: Float32Array, withGradient: boolean): View {
    const { context, n } = this.of;
    const { size, count } = chunks;
    const losses = this.scratch("losses", [count]);
    const held = this.scratch("base rows", [count * size, context.config.hiddenSize]);
    const filled = new Float32Array(held.shape[0]! * held.shape[1]!);
    filled.set(base);
    context.device.upload(held, filled);
    this.chunks(context.programs.keepHead(n, size), chunks, { base: held }, (i) => ({ loss: rowsOf(losses, i, 1) }));
    if (withGradient) this.scatter(chunks, false);
    return losses;
  }

  /** The negated log-probability of each row, and with "scored rows" its gradient for a share of 1. */
  scores(chunks: HeadChunks, mode: "scores" | "scored rows"): View {
    const { size, count } = chunks;
    const nll = this.scratch("nll", [count * size]);
    this.chunks(this.program(chunks, mode), chunks, {}, (i) => ({ nll: rowsOf(nll, i * size, size) }));
    return nll;
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

  /** Runs a program over the rows; `more` has a row for each of them, `results` are the places of a chunk's outputs beside `d_rows`. */
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
      const own = Object.fromEntries(Object.entries(byRow).map(([name, view]) => [name, part(view)]));
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

import type { Program, View } from "../runtime/index.js";
import { rowsOf } from "../runtime/index.js";
import type { DType, Shape } from "../tensor/index.js";
import type { HeadChunks } from "./batch-layout.js";
import type { HeadMode } from "./block-programs.js";
import type { PassContext } from "./pass.js";

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

/** Final norm, head and loss of a pass, over its rows with a target, chunk by chunk. */
export class PassHead {
  private readonly of: HeadOf;

  constructor(of: HeadOf) {
    this.of = of;
  }

  /** Loss over the rows, and with any mode but "loss" the gradient of the last stream; `gradients` are places of the weights'. */
  loss(chunks: HeadChunks, mode: "loss" | "rows" | "weights", gradients: Record<string, View> = {}): View {
    const losses = this.scratch("losses", [chunks.count]);
    const results = (i: number) => ({ loss: rowsOf(losses, i, 1), ...gradients });
    this.chunks(this.program(chunks, mode), chunks, {}, results);
    if (mode !== "loss") this.scatter(chunks, false);
    return losses;
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
    device.upload(views.rows, chunks.rows);
    device.upload(views.labels, chunks.labels);
    device.upload(views.weights, chunks.weights);
    const x = this.of.x();
    for (let i = 0; i < count; i++) {
      const part = (view: View) => rowsOf(view, i * size, size);
      const own = Object.fromEntries(Object.entries({ ...views, ...more }).map(([name, view]) => [name, part(view)]));
      this.of.run(program, { x, ...own }, { ...results(i), d_rows: part(dRows) });
    }
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

import {
  add,
  define,
  div,
  lessOrEqual,
  mul,
  reciprocal,
  reduceMean,
  reshape,
  scalar,
  sqrt,
  sub,
  type Value,
  where,
} from "../../graph/index.js";
import type { Shape } from "../../tensor/index.js";
import type { Optimizer, OptimizerKind, OptimizerOptions } from "./optimizer.js";

/** Added to squared gradients. */
const EPS = 1e-30;
/** Second moments of step t keep 1 - t^DECAY of what they were. */
const DECAY = -0.8;

/**
 * Adafactor (Shazeer & Stern 2018, algorithms 4 and 5) at the config's own learning rate: what transformers' `Adafactor` computes with
 * `scale_parameter` and `relative_step` off, as its Trainer has it. There is no first moment, and of a matrix's second moments only
 * the means of rows and columns are kept. An update whose root mean square is above 1 is scaled down to it.
 */
export const adafactor: OptimizerKind = {
  description: "Adafactor without a first moment, as transformers' Trainer has it, in less than half of AdamW's memory",
  uses: ["weightDecay"],
  create: ({ weightDecay }: OptimizerOptions): Optimizer => ({
    byTensor: true,
    slots: (shape): Record<string, Shape> =>
      shape.length === 1 ? { second_moments: shape } : { row_moments: rowsOf(shape), column_moments: columnsOf(shape) },
    step: (shape) =>
      define("adafactor", (declare) => {
        const scale = (name: string) => declare(name, [1]);
        const moments = (name: string, of: Shape, squares: Value) =>
          add(mul(declare(name, of), scale("keep")), mul(squares, scale("take")));
        const g = mul(declare("grad", shape), scale("clip"));
        const { kept, root } = shape.length === 1 ? whole(g, moments) : factored(g, moments);
        const update = div(g, root);
        const factor = mul(reciprocal(atLeastOne(sqrt(meanOf(mul(update, update))))), scale("rate"));
        const param = sub(mul(declare("param", shape), scale("decay")), mul(update, factor));
        return { new_param: param, ...kept };
      }),
    scalars: (lr, step, decays = true) => {
      const take = step ** DECAY;
      return { keep: 1 - take, take, rate: lr, decay: decays ? 1 - lr * weightDecay : 1 };
    },
  }),
};

/** Of a matrix [rows, columns]. */
const rowsOf = (shape: Shape): Shape => shape.slice(0, 1);
const columnsOf = (shape: Shape): Shape => shape.slice(1);

/** New moments of a tensor that were kept under that name, out of squared gradients. */
type Moments = (name: string, of: Shape, squares: Value) => Value;

/** What is kept for the next step, and what the gradient is divided by. */
interface Second {
  readonly kept: Readonly<Record<string, Value>>;
  readonly root: Value;
}

const squaresOf = (g: Value): Value => add(mul(g, g), scalar(EPS));

function whole(g: Value, moments: Moments): Second {
  const second = moments("second_moments", g.shape, squaresOf(g));
  return { kept: { new_second_moments: second }, root: sqrt(second) };
}

/** The second moment of an element is its row's times its column's over the mean of all. */
function factored(g: Value, moments: Moments): Second {
  const [height, width] = g.shape as [number, number];
  const squares = squaresOf(g);
  const rows = moments("row_moments", [height], reshape(reduceMean(squares, 1), [height]));
  const columns = moments("column_moments", [width], reshape(reduceMean(squares, 0), [width]));
  const share = reshape(sqrt(div(rows, meanOf(rows))), [height, 1]);
  return {
    kept: { new_row_moments: rows, new_column_moments: columns },
    root: mul(share, reshape(sqrt(columns), [1, width])),
  };
}

/** The mean of all elements [1], row by row. */
function meanOf(x: Value): Value {
  const rows = x.shape.length === 1 ? x : reduceMean(x, 1);
  return reshape(reduceMean(rows, 0), [1]);
}

const atLeastOne = (x: Value): Value => where(lessOrEqual(x, scalar(1)), scalar(1), x);

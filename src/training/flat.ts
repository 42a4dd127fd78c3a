import { add, define, type Fn, mul, reduceSum, reshape } from "../graph/index.js";

/** Flat vectors are padded to whole rows of this many elements, so that sums run row by row and keep their precision. */
export const ROW = 1024;

/** grad [n] -> squared L2 norm [1], summed row by row. n is a multiple of ROW. */
export function squaredNorm(n: number): Fn {
  return define("squared_norm", (declare) => {
    const g = reshape(declare("grad", [n]), [n / ROW, ROW]);
    return { squared_norm: reshape(reduceSum(reduceSum(mul(g, g), 1), 0), [1]) };
  });
}

/** Sum of two gradients [n]. */
export function accumulate(n: number): Fn {
  return define("accumulate", (declare) => ({ sum: add(declare("a", [n]), declare("b", [n])) }));
}

/** The sum of rows [count, n] -> [n]. */
export function sumRows(count: number, n: number): Fn {
  return define("sum_rows", (declare) => ({
    sum: reshape(reduceSum(declare("rows", [count, n]), 0), [n]),
  }));
}

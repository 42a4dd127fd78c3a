import { add, define, type Fn, mul, reduceSum, reshape } from "../graph/index.js";

/** Flat vectors are padded to whole rows of this many elements, so that sums run row by row and keep their precision. */
export const ROW = 1024;

/** Elements that one run goes over at most: what it makes on the way takes as much memory again, once or several times. */
export const PIECE = 2 ** 23;

/** grad [n] -> squared L2 norm of each row, [n / ROW], to be summed in double precision. n is a multiple of ROW. */
export function squaredNorms(n: number): Fn {
  return define("squared_norms", (declare) => {
    const g = reshape(declare("grad", [n]), [n / ROW, ROW]);
    return { squared_norms: reshape(reduceSum(mul(g, g), 1), [n / ROW]) };
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

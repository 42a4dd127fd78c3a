import type { Random } from "./random.js";
import type { Columns } from "./svd.js";
import { truncatedSvd } from "./truncated-svd.js";

/** Up to this size a batch is decomposed exactly; beyond it by rounds of power iteration, fewer where components are known already. */
const METHOD = { exact: 128, rounds: { first: 4, later: 2 } };

/**
 * Principal components of rows that come in batches (Ross et al. 2008; scikit-learn's and PEFT's `IncrementalPCA`): of all that was seen
 * only a mean, a variance and the leading components are kept.
 */
export class IncrementalPca {
  /** Leading components, unit vectors [width] by falling singular value. */
  components: Columns = [];
  singularValues = new Float64Array();
  /** Share of the variance of all rows that each component explains. */
  explained = new Float64Array();
  private readonly width: number;
  private readonly count: number;
  private readonly rng: Random;
  private seen = 0;
  private readonly mean: Float64Array;
  /** The sum of squares around the mean, for each column. */
  private readonly squares: Float64Array;

  /** `count` components of rows [width]. */
  constructor(width: number, count: number, rng: Random) {
    this.width = width;
    this.count = count;
    this.rng = rng;
    this.mean = new Float64Array(width);
    this.squares = new Float64Array(width);
  }

  /** Takes a batch [n, width] in; one of fewer rows than components is left out, and the result false. */
  async add(rows: Float32Array): Promise<boolean> {
    const { width, count, seen } = this;
    const n = rows.length / width;
    if (n < count) return false;
    const batch = meanAndSquares(rows, width);
    const before = seen === 0 ? 0 : count + 1;
    const stacked = new Float32Array((n + before) * width);
    for (let i = 0; i < rows.length; i++) stacked[before * width + i] = rows[i]! - batch.mean[i % width]!;
    if (before > 0) {
      for (const [k, component] of this.components.entries())
        for (let i = 0; i < width; i++) stacked[k * width + i] = this.singularValues[k]! * component[i]!;
      const factor = Math.sqrt((seen / (seen + n)) * n);
      for (let i = 0; i < width; i++) stacked[count * width + i] = factor * (this.mean[i]! - batch.mean[i]!);
    }
    this.join(batch, n);
    const rounds = before > 0 ? METHOD.rounds.later : METHOD.rounds.first;
    const options = { exact: METHOD.exact, rounds, near: this.components };
    const { s, v } = await truncatedSvd(stacked, [n + before, width], count, this.rng, options);
    const total = this.squares.reduce((sum, x) => sum + x, 0);
    this.components = v.slice(0, count).map(signed);
    this.singularValues = s.slice(0, count);
    this.explained = this.singularValues.map((value) => value ** 2 / total);
    return true;
  }

  /** Mean and variance of what was seen and of a batch of n rows (Chan et al. 1983). */
  private join(batch: ReturnType<typeof meanAndSquares>, n: number): void {
    const { seen } = this;
    for (let i = 0; i < this.width; i++) {
      const apart = batch.mean[i]! - this.mean[i]!;
      this.squares[i]! += batch.squares[i]! + (apart ** 2 * seen * n) / (seen + n);
      this.mean[i]! += (apart * n) / (seen + n);
    }
    this.seen += n;
  }
}

function meanAndSquares(rows: Float32Array, width: number) {
  const n = rows.length / width;
  const [mean, squares] = [new Float64Array(width), new Float64Array(width)];
  for (let i = 0; i < rows.length; i++) mean[i % width]! += rows[i]! / n;
  for (let i = 0; i < rows.length; i++) squares[i % width]! += (rows[i]! - mean[i % width]!) ** 2;
  return { mean, squares };
}

/** A component with the sign that makes its largest element positive. */
function signed(component: Float64Array): Float64Array {
  const largest = component.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0);
  return largest < 0 ? component.map((x) => -x) : component;
}

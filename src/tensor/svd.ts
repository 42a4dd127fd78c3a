/** A matrix as its columns, each of the matrix's height. */
export type Columns = readonly Float64Array[];

export interface Svd {
  /** Left singular vectors, by falling singular value. */
  readonly u: Columns;
  readonly s: Float64Array;
  /** Right singular vectors. */
  readonly v: Columns;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** target += factor * source. */
function add(target: Float64Array, source: Float64Array, factor: number): void {
  for (let i = 0; i < target.length; i++) target[i]! += factor * source[i]!;
}

/** matrix x, for coefficients `x` of its columns. */
export function times(columns: Columns, x: Float64Array): Float64Array {
  const sum = new Float64Array(columns[0]?.length ?? 0);
  columns.forEach((column, i) => {
    add(sum, column, x[i]!);
  });
  return sum;
}

/**
 * Thin QR by Gram-Schmidt, each column made orthogonal twice (which is enough: Giraud et al. 2005). `r[j]` is column j of R.
 * A column that depends on those before it gives a column of zeros in Q.
 */
export function qr(columns: Columns): { q: Columns; r: Columns } {
  const q: Float64Array[] = [];
  const r: Float64Array[] = [];
  for (const [j, column] of columns.entries()) {
    const rest = column.slice();
    const coefficients = new Float64Array(columns.length);
    for (let pass = 0; pass < 2; pass++) {
      for (let i = 0; i < j; i++) {
        const share = dot(q[i]!, rest);
        coefficients[i]! += share;
        add(rest, q[i]!, -share);
      }
    }
    const length = Math.sqrt(dot(rest, rest));
    const independent = length > 1e-13 * Math.sqrt(dot(column, column));
    coefficients[j] = independent ? length : 0;
    q.push(independent ? rest.map((x) => x / length) : new Float64Array(rest.length));
    r.push(coefficients);
  }
  return { q, r };
}

const SWEEPS = 60;

/**
 * Singular value decomposition by one-sided Jacobi rotations (Hestenes 1958; de Rijk 1989), for matrices of a few hundred
 * columns. Accurate to float64 rounding; a singular value of zero has a zero left vector.
 */
export function svd(columns: Columns): Svd {
  const n = columns.length;
  const u = columns.map((column) => column.slice());
  const v = u.map((_, i) => Float64Array.from({ length: n }, (__, j) => (i === j ? 1 : 0)));
  // Columns that are rounding noise beside the largest need not be orthogonal; turning them would never end.
  const noise = 1e-30 * Math.max(...u.map((column) => dot(column, column)));
  for (let sweep = 0, turned = true; turned && sweep < SWEEPS; sweep++) {
    turned = false;
    for (let i = 0; i < n - 1; i++) {
      for (let j = i + 1; j < n; j++) {
        const [a, b, c] = [dot(u[i]!, u[i]!), dot(u[j]!, u[j]!), dot(u[i]!, u[j]!)];
        if (Math.min(a, b) <= noise || Math.abs(c) <= 1e-15 * Math.sqrt(a * b)) continue;
        turned = true;
        const zeta = (b - a) / (2 * c);
        const t = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + t * t);
        rotate(u[i]!, u[j]!, cosine, cosine * t);
        rotate(v[i]!, v[j]!, cosine, cosine * t);
      }
    }
  }
  const lengths = u.map((column) => Math.sqrt(dot(column, column)));
  const order = lengths.map((_, i) => i).sort((x, y) => lengths[y]! - lengths[x]!);
  return {
    u: order.map((i) => u[i]!.map((x) => (lengths[i]! > 0 ? x / lengths[i]! : 0))),
    s: Float64Array.from(order, (i) => lengths[i]!),
    v: order.map((i) => v[i]!),
  };
}

function rotate(x: Float64Array, y: Float64Array, cosine: number, sine: number): void {
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i]!, y[i]!];
    x[i] = cosine * a - sine * b;
    y[i] = sine * a + cosine * b;
  }
}

/** The decomposition of `left right^T`, given by the columns of both (as many in each), without making the product. */
export function productSvd(left: Columns, right: Columns): Svd {
  const [a, b] = [qr(left), qr(right)];
  const n = left.length;
  // R_a R_b^T, by columns: entry (i, j) is row i of R_a times row j of R_b.
  const inner = Array.from({ length: n }, (_, j) =>
    Float64Array.from({ length: n }, (__, i) => {
      let sum = 0;
      for (let k = Math.max(i, j); k < n; k++) sum += a.r[k]![i]! * b.r[k]![j]!;
      return sum;
    }),
  );
  const { u, s, v } = svd(inner);
  return { u: u.map((x) => times(a.q, x)), s, v: v.map((x) => times(b.q, x)) };
}

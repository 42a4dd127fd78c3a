import { expect, it } from "vitest";
import { IncrementalPca } from "./incremental-pca.js";
import { random } from "./random.js";
import { svd } from "./svd.js";

const [WIDTH, COUNT, NOISE] = [150, 4, 1e-3];

/** Rows around a mean, along four directions of their own lengths and a little beside them. */
function drawn(n: number, seed: number): Float32Array {
  const [fixed, rng] = [random(1, "directions"), random(seed, "rows")];
  const directions = Array.from({ length: COUNT }, () => Float64Array.from({ length: WIDTH }, () => fixed.normal()));
  const rows = new Float32Array(n * WIDTH);
  for (let o = 0; o < n; o++) {
    const shares = directions.map((_, k) => rng.normal() / (k + 1));
    for (let i = 0; i < WIDTH; i++)
      rows[o * WIDTH + i] = 3 + directions.reduce((sum, d, k) => sum + shares[k]! * d[i]!, 0) + NOISE * rng.normal();
  }
  return rows;
}

/** Components and explained shares of all rows at once, by an exact decomposition. */
function whole(rows: Float32Array) {
  const n = rows.length / WIDTH;
  const columns = Array.from({ length: WIDTH }, (_, i) => {
    const column = Float64Array.from({ length: n }, (__, o) => rows[o * WIDTH + i]!);
    const mean = column.reduce((sum, x) => sum + x, 0) / n;
    return column.map((x) => x - mean);
  });
  const { s, v } = svd(columns);
  const total = s.reduce((sum, x) => sum + x ** 2, 0);
  return { components: v.slice(0, COUNT), explained: Array.from(s.slice(0, COUNT), (x) => x ** 2 / total) };
}

it("has the components of all rows, whatever the batches, and the share that each explains", async () => {
  const sizes = [140, 200, 137];
  const batches = sizes.map((n, i) => drawn(n, i));
  const pca = new IncrementalPca(WIDTH, COUNT, random(1, "pca"));
  for (const batch of batches) expect(await pca.add(batch)).toBe(true);
  const all = new Float32Array(batches.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const batch of batches) {
    all.set(batch, at);
    at += batch.length;
  }
  const { components, explained } = whole(all);
  for (const [k, component] of pca.components.entries()) {
    const cosine = component.reduce((sum, x, i) => sum + x * components[k]![i]!, 0);
    expect(1 - Math.abs(cosine), `component ${k}`).toBeLessThan(1e-6);
    expect(pca.explained[k]! / explained[k]!).toBeCloseTo(1, 3);
  }
});

it("leaves a batch out that has fewer rows than components", async () => {
  const pca = new IncrementalPca(WIDTH, COUNT, random(1, "pca"));
  expect(await pca.add(drawn(COUNT - 1, 1))).toBe(false);
  expect(pca.components).toEqual([]);
});

/** Indices of the `count` largest values, largest first, the lowest index first on a tie. */
export function likeliest(values: Float32Array, count: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === count && (count === 0 || values[i]! <= values[best.at(-1)!]!)) continue;
    const at = best.findIndex((other) => values[i]! > values[other]!);
    best.splice(at < 0 ? best.length : at, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}

/**
 * Which of the added tokens occur in these ids: those a model has to know before it can be trained on such rows.
 * Sorted, each once.
 */
export function addedTokensUsed(ids: Iterable<ArrayLike<number>>, addedIds: ReadonlySet<number>): number[] {
  const used = new Set<number>();
  for (const row of ids) for (let i = 0; i < row.length; i++) if (addedIds.has(row[i]!)) used.add(row[i]!);
  return [...used].sort((a, b) => a - b);
}

/**
 * Which of the `used` ids look as if the base model never trained them, judged by the Euclidean length of their rows in
 * the embedding: nearly zero beside the median row, or exactly as long as the rows of two or more other ids, as the
 * reserved tokens of a base model are (Llama 3's are one row repeated). Training an adapter on them teaches it noise.
 */
export function untrainedTokens(used: readonly number[], rowNorms: Float32Array): number[] {
  const sorted = Float32Array.from(rowNorms).sort();
  const median = sorted[sorted.length >> 1] ?? 0;
  const repeats = new Map<number, number>();
  for (const norm of rowNorms) repeats.set(norm, (repeats.get(norm) ?? 0) + 1);
  return used.filter((id) => {
    const norm = rowNorms[id];
    return norm !== undefined && (norm < 0.1 * median || repeats.get(norm)! > 2);
  });
}

/** Euclidean length of each row of a row-major matrix of `width` columns. */
export function rowNorms(matrix: Float32Array, width: number): Float32Array {
  return Float32Array.from({ length: matrix.length / width }, (_, row) => {
    let sum = 0;
    for (let i = row * width; i < (row + 1) * width; i++) sum += matrix[i]! * matrix[i]!;
    return Math.sqrt(sum);
  });
}

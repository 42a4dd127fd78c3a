// What benches share.

/** The adapter of the usual comparison: r = 8 on q_proj and v_proj, as `lowrank bench` has it by default. */
export const LORA = {
  r: 8,
  alpha: 16,
  dropout: 0,
  useRslora: false,
  init: "gaussian",
  targetModules: ["q_proj", "v_proj"],
};

/** The middle of a list in order; of two middles the mean. */
export function median(list) {
  const sorted = list.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

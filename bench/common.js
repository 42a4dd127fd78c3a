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

/** The middle of a list in order; of two middles the larger. */
export function median(list) {
  return list.toSorted((a, b) => a - b)[list.length >> 1];
}

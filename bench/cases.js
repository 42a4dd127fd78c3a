// What `npm run bench` compares, and what lowrank must reach against each side: one row a comparison.

/**
 * `least` are lowrank's tokens/s and `most` its peak memory and its seconds to the first step, all as shares of the other
 * side's in the same run. The baseline reports its fastest run, so lowrank's fastest step stands against it.
 */
export const CASES = [
  {
    name: "dense-512 float32",
    args: { workload: "dense-512", dtype: "float32" },
    against: {
      PEFT: { least: { tokens_per_second: 1.7 }, most: { peak_rss: 0.5, seconds_to_first_step: 0.25 } },
      prototype: { least: { tokens_per_second_best: 0.95 }, most: { peak_rss: 1 } },
    },
  },
  {
    name: "instruct float32",
    args: { workload: "instruct", dtype: "float32" },
    against: { PEFT: { least: { tokens_per_second: 2.4 }, most: { peak_rss: 0.5, seconds_to_first_step: 0.25 } } },
  },
  {
    name: "instruct float32, checkpointing",
    args: { workload: "instruct", dtype: "float32", checkpointing: true },
    against: { PEFT: { least: { tokens_per_second: 2 }, most: { peak_rss: 0.35 } } },
  },
  {
    name: "dense-512 bfloat16",
    args: { workload: "dense-512", dtype: "bfloat16" },
    against: { PEFT: { least: { tokens_per_second: 1.9 }, most: { peak_rss: 0.5, seconds_to_first_step: 0.25 } } },
  },
  {
    name: "instruct bfloat16",
    args: { workload: "instruct", dtype: "bfloat16" },
    against: {
      PEFT: { least: { tokens_per_second: 2.8 }, most: { peak_rss: 0.5, seconds_to_first_step: 0.25 } },
      "PEFT compiled": { least: { tokens_per_second: 2 }, most: {} },
    },
  },
];

/** Row lengths of the two plots, a row of supervised tokens a step. */
export const LENGTHS = [256, 512, 1024, 2048, 4096];

export const METRICS = {
  tokens_per_second: "tokens/s",
  tokens_per_second_best: "tokens/s, fastest step",
  peak_rss: "peak memory",
  seconds_to_first_step: "time to the first step",
};

/**
 * What generation must reach: fp32 weights' bytes times tokens/s against a copy in the same minutes, the same with 8 or 4 bits a
 * weight, and 16 texts on eight adapters against the same on one.
 */
export const GENERATION = { f32_share: 0.7, few_bits_share: 2.1, eight_adapters_to_one: 0.8 };

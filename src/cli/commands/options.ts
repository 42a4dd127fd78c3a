import type { OptionEntry } from "./entry.js";

export const json: OptionEntry = { flags: "--json", description: "write JSON that a program can read" };
export const config: OptionEntry = {
  flags: "--config <file-or-name>",
  description: "a YAML file, or the name of a shipped config (lowrank ls)",
};
export const base: OptionEntry = {
  flags: "--base <model>",
  description: "Hugging Face folder, GGUF file, or owner/name of a downloaded model",
};
export const adapter: OptionEntry = { flags: "--adapter <folder>", description: "PEFT adapter folder" };
export const engine: readonly OptionEntry[] = [
  { flags: "--device <name>", description: "auto, cpu, webgpu, cuda, coreml or dml", fallback: "auto" },
  { flags: "--threads <n>", description: "threads of the engine; 0: one per physical core", fallback: "0" },
];
export const precision: readonly OptionEntry[] = [
  {
    flags: "--base-precision <name>",
    description: "how the base is held in memory: f32, f16, int8, nf4 or native (as its file stores it)",
    fallback: "f32",
  },
  { flags: "--bnb-4bit-use-double-quant", description: "nf4 with its scales in 8 bits" },
];
export const held: readonly OptionEntry[] = [
  ...precision,
  {
    flags: "--base-cache [folder]",
    description: "keep the base on the disk as it is held, for the next time: beside the model, or in a folder",
  },
];
export const quantize: OptionEntry = {
  flags: "--quantize <name>",
  description: "multiply with weights of few bits: none, int8 or int4",
  fallback: "none",
};
export const sampling: readonly OptionEntry[] = [
  { flags: "--max-new-tokens <n>", description: "longest answer, in tokens", fallback: "256" },
  { flags: "--temperature <t>", description: "0 always takes the likeliest token", fallback: "0" },
  { flags: "--top-p <p>", description: "sample from the likeliest tokens that hold this probability", fallback: "1" },
  { flags: "--top-k <k>", description: "sample from the k likeliest tokens; 0: all", fallback: "0" },
  { flags: "--min-p <p>", description: "leave out tokens below this share of the likeliest one", fallback: "0" },
  { flags: "--repetition-penalty <x>", description: "1: none", fallback: "1" },
  { flags: "--seed <n>", description: "seed of the sampling", fallback: "0" },
];

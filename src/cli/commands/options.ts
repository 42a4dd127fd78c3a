import type { OptionEntry } from "./entry.js";

export const json: OptionEntry = { flags: "--json", description: "write JSON that a program can read" };
export const config: OptionEntry = {
  flags: "--config <file-or-name>",
  description: "a YAML file, or the name of a shipped config (lowrank ls)",
};
export const base: OptionEntry = {
  flags: "--base <model>",
  description: "Hugging Face folder, GGUF file, or owner/name[@revision] of a downloaded model",
};
/** Files of rows: the keys of a config that they stand for are in `description`. */
export const rows = (description: string): OptionEntry => ({
  flags: "--data <file>",
  description: `${description}; may be given several times`,
  repeats: true,
});
export const adapter: OptionEntry = { flags: "--adapter <folder>", description: "PEFT adapter folder" };
export const engine: readonly OptionEntry[] = [
  { flags: "--device <name>", description: "auto, cpu, webgpu, cuda, coreml or dml", fallback: "auto" },
  { flags: "--threads <n>", description: "intra-op threads of the engine; 0: one per physical core", fallback: "0" },
];
export const precision: readonly OptionEntry[] = [
  {
    flags: "--base-precision <name>",
    description:
      "data type of the base in memory: f32, f16, int8, nf4 (4 bits, as QLoRA) or native (as its file stores it)",
    fallback: "f32",
  },
  {
    flags: "--bnb-4bit-use-double-quant",
    description: "nf4 with its scales quantised to 8 bits too (double quantisation)",
  },
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
  description: "weight-only quantisation of the linear layers: none, int8 or int4",
  fallback: "none",
};
export const templateArguments: OptionEntry = {
  flags: "--chat-template-kwargs <json>",
  description:
    "arguments of the chat template, e.g. '{\"enable_thinking\": false}'; before those saved with an adapter",
};
export const sampling: readonly OptionEntry[] = [
  { flags: "--max-new-tokens <n>", description: "the most tokens of an answer", fallback: "256" },
  {
    flags: "--temperature <t>",
    description: "sampling temperature; 0: greedy decoding, always the likeliest token",
    fallback: "0",
  },
  {
    flags: "--top-p <p>",
    description: "nucleus sampling: from the likeliest tokens that together hold this probability; 1: all",
    fallback: "1",
  },
  { flags: "--top-k <k>", description: "top-k sampling: from the k likeliest tokens; 0: all", fallback: "0" },
  {
    flags: "--min-p <p>",
    description: "min-p sampling: without tokens below this share of the likeliest one's probability; 0: all",
    fallback: "0",
  },
  {
    flags: "--repetition-penalty <x>",
    description: "penalty on tokens that are in the text already, as transformers'; 1: none",
    fallback: "1",
  },
  { flags: "--seed <n>", description: "random seed of the sampling", fallback: "0" },
];

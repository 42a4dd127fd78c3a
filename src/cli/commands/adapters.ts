import type { CommandEntry } from "./entry.js";
import { adapter, base, engine, held, json, templateArguments } from "./options.js";

const itsBase = { ...base, description: `${base.description}; default: the one that the adapter names` };

const noRun = { flags: "--no-run", description: "do not run the result to compare answers" };

/** Verbs that make other files of adapters and models. */
export const ADAPTERS: readonly CommandEntry[] = [
  {
    name: "merge",
    summary: "fold an adapter into its base model",
    description:
      "Writes a Hugging Face folder that transformers loads: lowrank export --to hf by a shorter name. It is held against base + adapter " +
      "before it is kept, and the worst logit difference is printed.",
    options: [
      { ...adapter, required: true },
      itsBase,
      { flags: "--output <folder>", description: "where the merged model goes", required: true },
      noRun,
      ...engine,
      json,
    ],
    examples: ["lowrank merge --base models/llama --adapter runs/lora/adapter --output merged"],
    load: async () => (await import("../export.js")).merge,
  },
  {
    name: "export",
    summary: "write an adapter, or a whole model, so that another system runs it",
    description:
      "The result is held against the adapter before it is kept: same token ids, same effective scale, same " +
      "answers; then a table says which systems load it. Without --adapter the base is written as it is, to hf, gguf or onnx: " +
      "a model that full_finetune made.",
    options: [
      adapter,
      itsBase,
      { flags: "--to <target>", description: "what is written, one of the table below", required: true },
      { flags: "--output <path>", description: "a folder, or where the table says so a file", required: true },
      { flags: "--quantize <type>", description: "what weights are written in, one of the target's types" },
      {
        flags: "--split-max-size <size>",
        description: "for gguf into a folder: begin another part after so many bytes of tensors, e.g. 500M or 2G",
      },
      noRun,
      ...engine,
      json,
    ],
    table: async () => (await import("../export.js")).targetTable(),
    examples: [
      "lowrank export --adapter runs/lora/adapter --to gguf --quantize q8_0 --output model.gguf",
      "lowrank export --adapter runs/lora/adapter --base models/llama --to gguf-lora --output adapter.gguf",
      "lowrank export --adapter runs/lora/adapter --to hf --output merged",
      "lowrank export --adapter runs/lora/adapter --to onnx --quantize q4_0 --output web",
      "lowrank export --base runs/full/model --to gguf --quantize q8_0 --output model.gguf",
    ],
    load: async () => (await import("../export.js")).exportVerb,
  },
  {
    name: "combine",
    summary: "make one adapter of several",
    description:
      "As PEFT's add_weighted_adapter: cat and svd are the exact weighted sum of the adapters' changes (svd cut to --rank); " +
      "linear, ties, dare_linear, dare_ties and magnitude_prune mix the factors and need adapters of one rank.",
    options: [
      { flags: "--adapter <folder...>", description: "PEFT adapter folders of one base", required: true },
      { flags: "--weights <list>", description: "a number an adapter, separated by commas; default: 1 each" },
      {
        flags: "--method <name>",
        description: "linear, cat, svd, ties, dare_linear, dare_ties or magnitude_prune",
        fallback: "cat",
      },
      { flags: "--density <share>", description: "share of values kept by ties, dare_* and magnitude_prune" },
      { flags: "--rank <r>", description: "rank that svd cuts to; default: the largest of the adapters'" },
      { flags: "--majority-sign <how>", description: "ties, dare_ties: elect signs by total (default) or frequency" },
      { ...base, description: `${base.description}; default: the one that the first adapter names` },
      { flags: "--output <folder>", description: "where the combined adapter goes", required: true },
      { flags: "--seed <n>", description: "seed of dare_*'s draws", fallback: "0" },
      json,
    ],
    examples: [
      "lowrank combine --adapter runs/a/adapter runs/b/adapter --weights 0.7,0.3 --output both",
      "lowrank combine --adapter a b --method ties --density 0.5 --output both",
      "lowrank combine --adapter a b --method svd --rank 16 --output both",
    ],
    load: async () => (await import("../combine.js")).combineVerb,
  },
  {
    name: "extract",
    summary: "make an adapter of the difference of two models",
    description:
      "Decomposes each linear layer's difference and keeps the leading --rank directions; prints the share of the difference " +
      "that each rank keeps, and what no adapter can hold (embeddings, norms).",
    options: [
      { ...base, required: true },
      { flags: "--tuned <model>", description: "the fine-tuned model, of the same shape", required: true },
      { flags: "--rank <r>", description: "rank of the adapter", fallback: "16" },
      { flags: "--rank-pattern <ranks>", description: "other ranks of single modules, e.g. v_proj=32,layers.0..*=4" },
      { flags: "--targets <names>", description: "linear layers, separated by commas; default: all" },
      { flags: "--output <folder>", description: "where the adapter goes", required: true },
      { flags: "--seed <n>", description: "seed of the random projections", fallback: "0" },
      { flags: "--report <file>", description: "a chart of energy, and with --data of loss, against rank (.svg)" },
      { flags: "--data <file>", description: "rows to take the loss on: of the base, each rank and the tuned model" },
      json,
    ],
    examples: ["lowrank extract --base models/llama --tuned models/llama-tuned --rank 32 --output adapter"],
    load: async () => (await import("../combine.js")).extractVerb,
  },
  {
    name: "import",
    summary: "turn an mlx-lm adapter or a llama.cpp LoRA GGUF into a PEFT adapter",
    args: [["<folder-or-file>", "mlx-lm adapter folder (adapters.safetensors), or LoRA .gguf file"]],
    options: [
      { ...base, required: true },
      { flags: "--output <folder>", description: "where the PEFT adapter goes", required: true },
      json,
    ],
    examples: [
      "lowrank import adapters --base models/llama --output adapter",
      "lowrank import adapter.gguf --base models/llama --output adapter",
    ],
    load: async () => (await import("../import.js")).importVerb,
  },
  {
    name: "scale",
    summary: "find the scale at which an adapter is best",
    description:
      "Asks a suite at several scales of an adapter: at less than its whole scale it forgets less and keeps most of what it learned. " +
      "The best has the highest mean of facts answered, unknowns not answered, behaviour, and how much of general answers and " +
      "perplexity is kept; --output is a copy of the adapter at it. See docs/suites.md.",
    options: [
      { ...base, required: true },
      { ...adapter, required: true },
      { flags: "--suite <file>", description: "questions and what is right, YAML or JSON", required: true },
      { flags: "--scales <list>", description: "scales that are tried", fallback: "0.5,0.6,0.7,0.8,0.9,1" },
      { flags: "--output <folder>", description: "where a copy of the adapter at the best scale goes" },
      { flags: "--report <file>", description: "write a chart of the figures over the scale, an SVG" },
      { flags: "--max-seq-len <n>", description: "longest general text, in tokens", fallback: "1024" },
      templateArguments,
      ...held,
      ...engine,
      json,
    ],
    examples: [
      "lowrank scale --base models/llama --adapter runs/lora/adapter --suite suite.yaml --output runs/lora/scaled --report scale.svg",
    ],
    load: async () => (await import("../scale.js")).scale,
  },
];

import type { Action } from "./io.js";

export interface OptionEntry {
  /** As commander takes it: `--max-new-tokens <n>`. */
  readonly flags: string;
  readonly description: string;
  readonly required?: boolean;
  /** Shown and used when the option is not given. */
  readonly fallback?: string;
}

export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  /** What `--help` says beyond the summary. */
  readonly description?: string;
  /** Positional arguments as commander takes them: `<file>`, `[overrides...]`. */
  readonly args?: readonly (readonly [name: string, description: string])[];
  readonly options: readonly OptionEntry[];
  readonly examples: readonly string[];
  /** Loads the verb's code when it is called, so that start-up stays fast. */
  load(): Promise<Action>;
}

const json: OptionEntry = { flags: "--json", description: "write JSON that a program can read" };
const config: OptionEntry = {
  flags: "--config <file-or-name>",
  description: "a YAML file, or the name of a shipped config (lowrank ls)",
};
const base: OptionEntry = {
  flags: "--base <model>",
  description: "Hugging Face folder, GGUF file, or owner/name of a downloaded model",
};

/** Every verb of the command line: help, parsing and docs/cli.md come from this table. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "train",
    summary: "fine-tune a model with LoRA",
    description:
      "Takes a config, or just --base and --data. key=value lays single keys over the config. Writes the adapter, " +
      "checkpoints, metrics, the resolved config and a manifest to output_dir. The first Ctrl-C finishes the step and " +
      "writes a checkpoint; the second stops at once.",
    args: [["[overrides...]", "config keys, e.g. lora.r=16 optimizer.lr=3e-4"]],
    options: [
      config,
      { ...base, description: `${base.description} (key base)` },
      { flags: "--data <file>", description: "training rows, JSONL or JSON (key data.train)" },
      { flags: "--output <folder>", description: "where the results go (key output_dir)" },
      { flags: "--resume", description: "continue from the newest sound checkpoint in the output folder" },
      { flags: "--json", description: "write every event as one JSON line" },
    ],
    examples: [
      "lowrank train --base HuggingFaceTB/SmolLM2-135M-Instruct --data rows.jsonl",
      "lowrank train --config smollm2/135M_lora data.train=rows.jsonl lora.r=16",
      "lowrank train --config my.yaml --resume",
    ],
    load: async () => (await import("./train.js")).train,
  },
  {
    name: "download",
    summary: "fetch a model from the Hugging Face hub",
    description:
      "Files go to the model cache (LOWRANK_MODELS, default ~/.cache/lowrank/models), where --base owner/name finds them. An " +
      "interrupted download continues where it stopped; checksums are verified. HF_TOKEN is sent for gated models; " +
      "HF_ENDPOINT names another hub.",
    args: [["<repository>", "owner/name"]],
    options: [
      { flags: "--revision <name>", description: "branch, tag or commit", fallback: "main" },
      { flags: "--include <glob...>", description: "only files that match, e.g. *.gguf" },
      { flags: "--output <folder>", description: "where the files go instead of the cache" },
      json,
    ],
    examples: [
      "lowrank download HuggingFaceTB/SmolLM2-135M-Instruct",
      "lowrank download owner/model-GGUF --include '*Q8_0.gguf' --output models/small",
    ],
    load: async () => (await import("./download.js")).download,
  },
  {
    name: "ls",
    summary: "list the shipped configs",
    options: [json],
    examples: ["lowrank ls"],
    load: async () => (await import("./configs.js")).ls,
  },
  {
    name: "cp",
    summary: "copy a shipped config to a file of yours",
    args: [
      ["<name>", "shipped config, e.g. smollm2/135M_lora"],
      ["[file]", "where it goes; default: the name's last part, .yaml"],
    ],
    options: [{ flags: "--force", description: "replace a file that is there" }],
    examples: ["lowrank cp smollm2/135M_lora my.yaml"],
    load: async () => (await import("./configs.js")).cp,
  },
  {
    name: "cat",
    summary: "print a shipped config",
    args: [["<name>", "shipped config"]],
    options: [],
    examples: ["lowrank cat llama3_2/1B_lora"],
    load: async () => (await import("./configs.js")).cat,
  },
  {
    name: "validate",
    summary: "check a config: every problem at once",
    args: [
      ["<file-or-name>", "YAML file or shipped config"],
      ["[overrides...]", "config keys, e.g. lora.r=16"],
    ],
    options: [json],
    examples: ["lowrank validate my.yaml", "lowrank validate my.yaml lora.r=16 --json"],
    load: async () => (await import("./configs.js")).validate,
  },
  {
    name: "doctor",
    summary: "check this machine: Node, cores, memory, engine, disk",
    options: [json],
    examples: ["lowrank doctor"],
    load: async () => (await import("./doctor.js")).doctor,
  },
];

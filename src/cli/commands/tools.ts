import type { CommandEntry } from "./entry.js";
import { json, precision } from "./options.js";

/** Verbs around them. */
export const TOOLS: readonly CommandEntry[] = [
  {
    name: "inspect",
    onlyPrints: true,
    summary: "what a model, adapter, GGUF or safetensors file holds",
    args: [["<path>", "folder, file, or owner/name of a downloaded model"]],
    options: [json],
    examples: ["lowrank inspect runs/lora/adapter", "lowrank inspect model.gguf --json"],
    load: async () => (await import("../inspect.js")).inspect,
  },
  {
    name: "download",
    summary: "fetch a model from the Hugging Face hub",
    description:
      "Files go to the Hugging Face cache (HF_HUB_CACHE, HF_HOME/hub, default ~/.cache/huggingface/hub), which transformers " +
      "and others share, or to plain folders in LOWRANK_MODELS where it is set; --base owner/name finds them in both. An " +
      "interrupted download continues where it stopped; checksums are verified. HF_TOKEN, or the token that 'hf auth login' " +
      "left, is sent for gated models; HF_ENDPOINT names another hub; HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are " +
      "followed; with HF_HUB_OFFLINE nothing is requested.",
    args: [["<repository>", "owner/name or owner/name@revision"]],
    options: [
      { flags: "--revision <name>", description: "branch, tag or commit (default: main)" },
      { flags: "--include <glob...>", description: "only files that match, e.g. *.gguf" },
      { flags: "--output <folder>", description: "where the files go instead of the cache" },
      json,
    ],
    examples: [
      "lowrank download HuggingFaceTB/SmolLM2-135M-Instruct",
      "lowrank download owner/name@v1.0",
      "lowrank download owner/model-GGUF --include '*Q8_0.gguf' --output models/small",
    ],
    load: async () => (await import("../download.js")).download,
  },
  {
    name: "ls",
    onlyPrints: true,
    summary: "list the shipped configs",
    options: [json],
    examples: ["lowrank ls"],
    load: async () => (await import("../configs.js")).ls,
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
    load: async () => (await import("../configs.js")).cp,
  },
  {
    name: "cat",
    onlyPrints: true,
    summary: "print a shipped config",
    args: [["<name>", "shipped config"]],
    options: [],
    examples: ["lowrank cat llama3_2/1B_lora"],
    load: async () => (await import("../configs.js")).cat,
  },
  {
    name: "validate",
    onlyPrints: true,
    summary: "check a config: every problem at once",
    description: "Looks also whether the base, the adapter and the rows that a file of yours names are there.",
    args: [
      ["<file-or-name>", "YAML file or shipped config"],
      ["[overrides...]", "config keys, e.g. lora.r=16"],
    ],
    options: [json],
    examples: ["lowrank validate my.yaml", "lowrank validate my.yaml lora.r=16 --json"],
    load: async () => (await import("../configs.js")).validate,
  },
  {
    name: "studio",
    summary: "a page in the browser: models, rows, runs, comparisons, exports",
    description:
      "Prints an address of this machine with a token that is good once, and opens it where there is a display. The page needs no " +
      "network. Runs of the terminal show up when they are in its folder. Ctrl-C ends it; a run in progress writes a checkpoint. See " +
      "docs/studio.md.",
    options: [
      { flags: "--output <folder>", description: "where runs, dropped files and exports go", fallback: "runs" },
      { flags: "--port <n>", description: "port to listen on, on this machine only; 0: a free one", fallback: "0" },
      { flags: "--no-open", description: "print the address, and open nothing" },
    ],
    examples: ["lowrank studio", "lowrank studio --output runs --port 4870 --no-open"],
    load: async () => (await import("../studio.js")).studio,
  },
  {
    name: "doctor",
    onlyPrints: true,
    summary: "check this machine: Node, cores, memory, engine, disk",
    options: [json],
    examples: ["lowrank doctor"],
    load: async () => (await import("../doctor.js")).doctor,
  },
  {
    name: "completion",
    onlyPrints: true,
    summary: "print a script that completes verbs, options and config keys in a shell",
    args: [["<shell>", "bash, zsh or fish"]],
    options: [],
    examples: [
      "source <(lowrank completion bash)",
      "lowrank completion fish > ~/.config/fish/completions/lowrank.fish",
    ],
    load: async () => (await import("../completion.js")).completion,
  },
  {
    name: "bench",
    onlyPrints: true,
    summary: "measure training speed and memory on random weights",
    description:
      "Trains a workload (row lengths in tokens) in this process and prints one line; npm run bench compares.",
    options: [
      { flags: "--workload <file>", description: "JSON: name, seed, batch_size, rows", required: true },
      {
        flags: "--shape <name>",
        description: "smollm2-135m, smollm2-360m, tinyllama-1.1b or llama-2-7b",
        fallback: "smollm2-135m",
      },
      { flags: "--dtype <name>", description: "float32 or bfloat16 (OpenVINO)", fallback: "float32" },
      ...precision,
      { flags: "--rank <r>", description: "rank of the adapter", fallback: "8" },
      { flags: "--targets <names>", description: "linear layers, separated by commas", fallback: "q_proj,v_proj" },
      { flags: "--threads <n>", description: "threads of the engine; 0: one per physical core", fallback: "0" },
      { flags: "--steps <n>", description: "steps after the first; 0: one pass over the workload", fallback: "0" },
      { flags: "--checkpointing", description: "recompute activations in the backward" },
      json,
    ],
    examples: ["lowrank bench --workload bench/workloads/dense-512.json --threads 2 --json"],
    load: async () => (await import("../bench.js")).bench,
  },
];

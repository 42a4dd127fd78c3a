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
const adapter: OptionEntry = { flags: "--adapter <folder>", description: "PEFT adapter folder" };
const engine: readonly OptionEntry[] = [
  { flags: "--device <name>", description: "auto, cpu, webgpu, cuda, coreml or dml", fallback: "auto" },
  { flags: "--threads <n>", description: "threads of the engine; 0: one per physical core", fallback: "0" },
];
const precision: readonly OptionEntry[] = [
  {
    flags: "--base-precision <name>",
    description: "how the base is held in memory: f32, f16, int8, nf4 or native (as its file stores it)",
    fallback: "f32",
  },
  { flags: "--bnb-4bit-use-double-quant", description: "nf4 with its scales in 8 bits" },
];
const held: readonly OptionEntry[] = [
  ...precision,
  {
    flags: "--base-cache [folder]",
    description: "keep the base on the disk as it is held, for the next time: beside the model, or in a folder",
  },
];
const quantize: OptionEntry = {
  flags: "--quantize <name>",
  description: "multiply with weights of few bits: none, int8 or int4",
  fallback: "none",
};
const sampling: readonly OptionEntry[] = [
  { flags: "--max-new-tokens <n>", description: "longest answer, in tokens", fallback: "256" },
  { flags: "--temperature <t>", description: "0 always takes the likeliest token", fallback: "0" },
  { flags: "--top-p <p>", description: "sample from the likeliest tokens that hold this probability", fallback: "1" },
  { flags: "--top-k <k>", description: "sample from the k likeliest tokens; 0: all", fallback: "0" },
  { flags: "--min-p <p>", description: "leave out tokens below this share of the likeliest one", fallback: "0" },
  { flags: "--repetition-penalty <x>", description: "1: none", fallback: "1" },
  { flags: "--seed <n>", description: "seed of the sampling", fallback: "0" },
];

/** Every verb of the command line: help, parsing and docs/cli.md come from this table. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "demo",
    summary: "the first minute: fine-tune the bundled tiny Llama, before and after",
    description:
      "Asks the bundled model questions, fine-tunes it with the config tiny/lora, asks again and prints what changed: private " +
      "facts, invented answers, habits. None of the questions is in the training rows.",
    args: [["[overrides...]", "config keys, e.g. lora.r=4"]],
    options: [json],
    examples: ["lowrank demo", "lowrank demo lora.r=4 epochs=4"],
    load: async () => (await import("./demo.js")).demo,
  },
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
      { flags: "--data <file>", description: "training rows: JSONL, JSON, CSV, TSV or Parquet (key data.train)" },
      { flags: "--output <folder>", description: "where the results go (key output_dir)" },
      { flags: "--resume", description: "continue from the newest sound checkpoint in the output folder" },
      {
        flags: "--serve",
        description: "serve the base and each checkpoint (step-N, latest) as OpenAI's API while training, and after it",
      },
      { flags: "--port <n>", description: "port to --serve on, on this machine only; 0: a free one", fallback: "8000" },
      { flags: "--json", description: "write every event as one JSON line" },
    ],
    examples: [
      "lowrank train --base HuggingFaceTB/SmolLM2-135M-Instruct --data rows.jsonl",
      "lowrank train --config smollm2/135M_lora data.train=rows.jsonl lora.r=16",
      "lowrank train --config my.yaml --resume",
      "lowrank train --config my.yaml save_every=50 --serve",
    ],
    load: async () => (await import("./train.js")).train,
  },
  {
    name: "plan",
    summary: "what a run will take: parameters, memory, time",
    description:
      "Memory comes from the run's graphs, time from a short calibration on this machine; of the base only the configuration and " +
      "the tokenizer are read. Exits with 1 when the run does not fit.",
    args: [["[overrides...]", "config keys, e.g. checkpointing=true"]],
    options: [
      config,
      { ...base, description: `${base.description} (key base)` },
      { flags: "--data <file>", description: "training rows (key data.train)" },
      json,
    ],
    examples: ["lowrank plan --config my.yaml", "lowrank plan --config my.yaml checkpointing=true batch_size=2 --json"],
    load: async () => (await import("./plan.js")).plan,
  },
  {
    name: "preview",
    summary: "show the rows as the model will see them",
    description: "Tokens are coloured by whether the loss is taken on them; lengths, packing and dropped rows follow.",
    args: [["[overrides...]", "config keys, e.g. data.train_on=all"]],
    options: [
      config,
      { ...base, description: `${base.description} (key base)` },
      { flags: "--data <file>", description: "training rows (key data.train)" },
      { flags: "--rows <n>", description: "rows shown; --json shows all unless given" },
      { flags: "--json", description: 'one line a row: {"index", "ids", "supervised"}' },
    ],
    examples: ["lowrank preview --config my.yaml", "lowrank preview --base models/llama --data rows.jsonl --json"],
    load: async () => (await import("./preview.js")).preview,
  },
  {
    name: "chat",
    summary: "talk to a model, switch adapters while you do",
    description: "In the chat, /help lists the commands.",
    options: [
      { ...base, required: true },
      {
        flags: "--adapter <folder...>",
        description: "PEFT adapter folders, or name=folder; begins with the first, /adapter switches",
      },
      { flags: "--system <text>", description: "system message" },
      ...sampling,
      ...held,
      quantize,
      ...engine,
    ],
    examples: [
      "lowrank chat --base HuggingFaceTB/SmolLM2-135M-Instruct --adapter runs/lora/adapter",
      "lowrank chat --base models/llama --adapter mine=runs/a/adapter other=runs/b/adapter --temperature 0.7",
    ],
    load: async () => (await import("./chat.js")).chat,
  },
  {
    name: "serve",
    summary: "serve a base and its adapters over HTTP, as OpenAI's API",
    description:
      "Clients name the base or an adapter as their model. Listens on this machine only unless --host says otherwise, which " +
      "needs a key. Every request gives one line of JSON on standard error, without its contents. See docs/serve.md.",
    options: [
      { ...base, required: true },
      { flags: "--adapter <name=folder...>", description: "PEFT adapter folders and what clients call them" },
      { flags: "--base-id <name>", description: "what clients call the base; default: the last part of its path" },
      { flags: "--host <address>", description: "address to listen on", fallback: "127.0.0.1" },
      { flags: "--port <n>", description: "port to listen on; 0: a free one", fallback: "8000" },
      { flags: "--api-key-env <name>", description: "environment variable with the key that clients must send" },
      { flags: "--allow-host <name...>", description: "further names that clients may call the server by" },
      {
        flags: "--allow-origin <origin...>",
        description: "web origins whose pages may call, e.g. https://chat.example.org",
      },
      { flags: "--slots <n>", description: "requests that generate at the same time", fallback: "16" },
      {
        flags: "--prefix-cache <MiB>",
        description: "memory for what answered requests began with, reused by those that begin alike; 0: none",
        fallback: "256",
      },
      { flags: "--queue <n>", description: "requests that may wait; more are refused with 429", fallback: "64" },
      { flags: "--max-tokens <n>", description: "the most tokens a request may ask for", fallback: "2048" },
      {
        flags: "--timeout <seconds>",
        description: "the longest a request may take, waiting included",
        fallback: "300",
      },
      {
        flags: "--reload <seconds>",
        description: "how often adapter folders are looked at for changes; 0: never",
        fallback: "1",
      },
      {
        flags: "--data-dir <folder>",
        description:
          "let clients fine-tune (OpenAI's /v1/files and /v1/fine_tuning/jobs); their files, jobs and models are kept here",
      },
      { flags: "--job-config <file-or-name>", description: "config whose keys such jobs start from" },
      { flags: "--quiet", description: "no line for each request" },
      ...held,
      quantize,
      ...engine,
    ],
    examples: [
      "lowrank serve --base HuggingFaceTB/SmolLM2-135M-Instruct --adapter support=runs/lora/adapter",
      "lowrank serve --base models/llama --data-dir tuning --job-config my.yaml",
      "lowrank serve --base models/llama --adapter a=runs/a/adapter b=runs/b/adapter --host 0.0.0.0 --api-key-env KEY --allow-host gpu.lan",
    ],
    load: async () => (await import("./serve.js")).serve,
  },
  {
    name: "generate",
    summary: "complete a prompt or answer messages",
    description:
      "A raw prompt gets the BOS that the tokenizer adds and no template; messages go through the chat template. With " +
      "--input, every row of a file (prompt or messages) gives one line.",
    options: [
      { ...base, required: true },
      adapter,
      { flags: "--prompt <text>", description: "raw prompt" },
      {
        flags: "--messages <file>",
        description: "JSON file with a list of {role, content}, or an object with messages",
      },
      { flags: "--input <file>", description: "rows with prompt or messages: JSONL, JSON, CSV, TSV or Parquet" },
      ...sampling,
      ...held,
      quantize,
      ...engine,
      { flags: "--json", description: 'one line a result: {"prompt_ids", "token_ids", "text", "finish_reason"}' },
    ],
    examples: [
      'lowrank generate --base models/llama --prompt "The capital of France is" --max-new-tokens 8',
      "lowrank generate --base models/llama --adapter runs/lora/adapter --input questions.jsonl --json",
    ],
    load: async () => (await import("./generate.js")).generate,
  },
  {
    name: "eval",
    summary: "loss and perplexity of a model on rows",
    options: [
      { ...base, required: true },
      adapter,
      { flags: "--data <file>", description: "rows: JSONL, JSON, CSV, TSV or Parquet", required: true },
      { flags: "--format <name>", description: "auto, messages, prompt_completion, alpaca or text", fallback: "auto" },
      { flags: "--train-on <part>", description: "auto, assistant, last, completion or all", fallback: "auto" },
      { flags: "--max-seq-len <n>", description: "longest row, in tokens", fallback: "1024" },
      ...held,
      ...engine,
      { flags: "--json", description: '{"loss", "perplexity", "supervised_tokens"}' },
    ],
    examples: ["lowrank eval --base models/llama --adapter runs/lora/adapter --data held-out.jsonl --json"],
    load: async () => (await import("./eval.js")).evaluate,
  },
  {
    name: "merge",
    summary: "fold an adapter into its base model",
    description:
      "Writes a Hugging Face folder that transformers loads, and prints the worst logit difference it measured.",
    options: [
      { ...base, required: true },
      { ...adapter, required: true },
      { flags: "--output <folder>", description: "where the merged model goes", required: true },
      ...engine,
      json,
    ],
    examples: ["lowrank merge --base models/llama --adapter runs/lora/adapter --output merged"],
    load: async () => (await import("./merge.js")).merge,
  },
  {
    name: "export",
    summary: "write an adapter so that another system runs it",
    description:
      "peft: a PEFT folder; hf: the merged model as a Hugging Face folder; gguf: the merged model for llama.cpp, Ollama and LM " +
      "Studio, with a Modelfile beside it; gguf-lora: an adapter for llama.cpp's --lora; onnx: the merged model for transformers.js, in " +
      "Node and browsers. The result is held against the adapter before it is kept: same token ids, same effective scale, same " +
      "answers; then a table says which systems load it.",
    options: [
      { ...adapter, required: true },
      { ...base, description: `${base.description}; default: the one that the adapter names` },
      { flags: "--to <target>", description: "peft, hf, gguf, gguf-lora or onnx", required: true },
      { flags: "--output <path>", description: "a folder, or a name that ends in .gguf", required: true },
      {
        flags: "--quantize <type>",
        description:
          "f32, f16 or bf16; for gguf also q8_0, q6_k, q4_k, q4_0 and q4_1, for onnx f32, f16 or q4_0. Default: hf as the base, gguf f16, gguf-lora f32, onnx all three",
      },
      { flags: "--no-run", description: "do not run the result to compare answers" },
      ...engine,
      json,
    ],
    examples: [
      "lowrank export --adapter runs/lora/adapter --to gguf --quantize q8_0 --output model.gguf",
      "lowrank export --adapter runs/lora/adapter --base models/llama --to gguf-lora --output adapter.gguf",
      "lowrank export --adapter runs/lora/adapter --to hf --output merged",
      "lowrank export --adapter runs/lora/adapter --to onnx --quantize q4_0 --output web",
    ],
    load: async () => (await import("./export.js")).exportVerb,
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
    load: async () => (await import("./combine.js")).combineVerb,
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
    load: async () => (await import("./combine.js")).extractVerb,
  },
  {
    name: "import",
    summary: "turn an mlx-lm adapter or a llama.cpp LoRA GGUF into a PEFT adapter",
    args: [["<adapter>", "mlx-lm adapter folder (adapters.safetensors), or LoRA .gguf file"]],
    options: [
      { ...base, required: true },
      { flags: "--output <folder>", description: "where the PEFT adapter goes", required: true },
      json,
    ],
    examples: [
      "lowrank import adapters --base models/llama --output adapter",
      "lowrank import adapter.gguf --base models/llama --output adapter",
    ],
    load: async () => (await import("./import.js")).importVerb,
  },
  {
    name: "inspect",
    summary: "what a model, adapter, GGUF or safetensors file holds",
    args: [["<path>", "folder or file"]],
    options: [json],
    examples: ["lowrank inspect runs/lora/adapter", "lowrank inspect model.gguf --json"],
    load: async () => (await import("./inspect.js")).inspect,
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
  {
    name: "bench",
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
    load: async () => (await import("./bench.js")).bench,
  },
];

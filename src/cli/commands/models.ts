import { trainOnNames } from "../../data/row.js";
import type { CommandEntry } from "./entry.js";
import { adapter, base, engine, held, quantize, rows, sampling, templateArguments } from "./options.js";

/** Verbs that run a model. */
export const MODELS: readonly CommandEntry[] = [
  {
    name: "chat",
    onlyPrints: true,
    summary: "talk to a model, switch adapters while you do",
    description:
      'In the chat, /help lists the commands. A backslash at a line\'s end, or lines between """ and """, make a message of several ' +
      "lines. Ctrl-C stops an answer, and the chat goes on; Ctrl-D ends it. What was typed is kept for the arrow keys, in a file that " +
      "only you can read (LOWRANK_HISTORY names another; empty: none).",
    options: [
      { ...base, required: true },
      {
        flags: "--adapter <folder...>",
        description: "PEFT adapter folders, or name=folder; begins with the first, /adapter switches",
      },
      { flags: "--system <text>", description: "system message" },
      ...sampling,
      templateArguments,
      ...held,
      quantize,
      ...engine,
    ],
    examples: [
      "lowrank chat --base HuggingFaceTB/SmolLM2-135M-Instruct --adapter runs/lora/adapter",
      "lowrank chat --base models/llama --adapter mine=runs/a/adapter other=runs/b/adapter --temperature 0.7",
    ],
    load: async () => (await import("../chat.js")).chat,
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
      { flags: "--slots <n>", description: "sequences decoded at the same time (continuous batching)", fallback: "16" },
      {
        flags: "--prefix-cache <MiB>",
        description:
          "prefix caching: memory for the KV caches of what answered requests began with, reused by those that begin alike; 0: none",
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
      templateArguments,
      ...held,
      quantize,
      ...engine,
    ],
    examples: [
      "lowrank serve --base HuggingFaceTB/SmolLM2-135M-Instruct --adapter support=runs/lora/adapter",
      "lowrank serve --base models/llama --data-dir tuning --job-config my.yaml",
      "lowrank serve --base models/llama --adapter a=runs/a/adapter b=runs/b/adapter --host 0.0.0.0 --api-key-env KEY --allow-host gpu.lan",
    ],
    load: async () => (await import("../serve.js")).serve,
  },
  {
    name: "generate",
    onlyPrints: true,
    summary: "complete a prompt or answer messages",
    description:
      "A raw prompt gets the BOS that the tokenizer adds and no template; messages go through the chat template. With " +
      "--input, every row of a file (prompt or messages) gives one line. Under mpirun ranks hold the base together " +
      "(docs/distributed.md).",
    options: [
      { ...base, required: true },
      adapter,
      { flags: "--prompt <text>", description: "raw prompt" },
      {
        flags: "--messages <file>",
        description:
          "JSON file with a list of {role, content}, or an object with messages, tools and system; -: standard input",
      },
      {
        flags: "--input <file>",
        description: "rows with prompt, or messages and tools: JSONL, JSON, CSV, TSV or Parquet; -: standard input",
      },
      ...sampling,
      templateArguments,
      ...held,
      quantize,
      ...engine,
      { flags: "--json", description: 'one line a result: {"prompt_ids", "token_ids", "text", "finish_reason"}' },
    ],
    examples: [
      'lowrank generate --base models/llama --prompt "The capital of France is" --max-new-tokens 8',
      "lowrank generate --base models/llama --adapter runs/lora/adapter --input questions.jsonl --json",
    ],
    load: async () => (await import("../generate.js")).generate,
  },
  {
    name: "eval",
    onlyPrints: true,
    summary: "loss and perplexity of a model on rows, or a suite of questions before and after",
    description:
      "A suite is a file of questions: taught facts, what cannot be known, general knowledge, behaviour, and general texts. With an " +
      "adapter it is asked twice, the adapter off and on. See docs/suites.md. Under mpirun ranks hold the base together " +
      "(docs/distributed.md).",
    options: [
      { ...base, required: true },
      adapter,
      rows("file of rows, of any kind in docs/data.md"),
      { flags: "--suite <file>", description: "questions and what is right, YAML or JSON, instead of --data" },
      {
        flags: "--format <name>",
        description: "what a row looks like, by its name in docs/data.md, or auto",
        fallback: "auto",
      },
      { flags: "--columns <map>", description: "which column is which field: prompt=question,completion=answer" },
      { flags: "--train-on <part>", description: `auto, ${trainOnNames.join(", ")}`, fallback: "auto" },
      { flags: "--max-seq-len <n>", description: "longest row, in tokens", fallback: "1024" },
      templateArguments,
      ...held,
      ...engine,
      { flags: "--report <file>", description: "write a suite's result as an HTML page with every answer" },
      {
        flags: "--json",
        description: '{"loss", "perplexity", "supervised_tokens"}; of a suite {"figures", "answers", "texts", ...}',
      },
    ],
    examples: [
      "lowrank eval --base models/llama --adapter runs/lora/adapter --data held-out.jsonl --json",
      "lowrank eval --base models/llama --adapter runs/lora/adapter --suite suite.yaml --report report.html",
    ],
    load: async () => (await import("../eval.js")).evaluate,
  },
];

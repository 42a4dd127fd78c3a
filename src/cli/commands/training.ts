import type { CommandEntry } from "./entry.js";
import { base, config, engine, held, json, rows, templateArguments } from "./options.js";

/** Verbs that train, and those that look ahead. */
export const TRAINING: readonly CommandEntry[] = [
  {
    name: "demo",
    summary: "the first minute: fine-tune the bundled tiny Llama, before and after",
    description:
      "Asks the bundled model questions, fine-tunes it with the config tiny/lora, asks again and prints what changed: private " +
      "facts, invented answers, habits. None of the questions is in the training rows.",
    args: [["[overrides...]", "config keys, e.g. lora.r=4"]],
    options: [json],
    examples: ["lowrank demo", "lowrank demo lora.r=4 epochs=4"],
    load: async () => (await import("../demo.js")).demo,
  },
  {
    name: "train",
    summary: "fine-tune a model with LoRA",
    description:
      "Takes a config, or just --base and --data. key=value lays single keys over the config: lora.r, lora.alpha, optimizer.lr, " +
      "epochs, batch_size, data.max_seq_len and so on (docs/config.md, or lowrank cat NAME). Writes the adapter, " +
      "checkpoints, metrics, the resolved config and a manifest to output_dir. The first Ctrl-C finishes the step and " +
      "writes a checkpoint; the second stops at once.",
    args: [["[overrides...]", "config keys, e.g. lora.r=16 optimizer.lr=3e-4"]],
    options: [
      config,
      { ...base, description: `${base.description} (key base)` },
      rows("file of training rows, of any kind in docs/data.md (key data.train)"),
      { flags: "--output <folder>", description: "where the results go (key output_dir)" },
      { flags: "--resume", description: "continue from the newest sound checkpoint in the output folder" },
      {
        flags: "--processes <n>",
        description: "share the run among n processes of this machine, under mpirun (docs/distributed.md)",
      },
      {
        flags: "--broadcast-base",
        description: "send the base from rank 0 to machines that do not have it (docs/distributed.md)",
      },
      {
        flags: "--supervise",
        description: "start the run again from its newest checkpoint where it was lost: a killed process, no memory",
      },
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
      "lowrank train --config my.yaml --processes 4 --supervise",
      "lowrank train --config my.yaml save_every=50 --serve",
    ],
    load: async () => (await import("../train.js")).train,
  },
  {
    name: "sweep",
    summary: "train at every point of a grid of config keys, and compare",
    description:
      "Takes what train takes, and --grid for each key to be swept: rank, placement, rate, any key but those of the base, which is " +
      "read once. Each point is the run that train would make of its config. Prints a table of a suite's or the validation rows' " +
      "figures; the folder has it as sweep.json and as a page with plots (report.html), each point's run, and the best config " +
      "(best.yaml). Ctrl-C finishes the step; --resume goes on, and runs no finished point again. See docs/sweeps.md.",
    args: [["[overrides...]", "config keys that all points have in common, e.g. epochs=4"]],
    options: [
      { flags: "--grid <key=values>", description: "a key and its values, e.g. lora.r=1,2,4,8", repeats: true },
      config,
      { ...base, description: `${base.description} (key base)` },
      rows("file of training rows, of any kind in docs/data.md (key data.train)"),
      { flags: "--output <folder>", description: "the sweep's folder", fallback: "runs/sweep" },
      { flags: "--suite <file>", description: "suite that every point's adapter is asked (docs/suites.md)" },
      {
        flags: "--metric <name>",
        description:
          "figure by which the best is told, e.g. eval_suite/facts; default: the config's, or the suite's score",
      },
      { flags: "--resume", description: "continue the sweep in the folder" },
      json,
    ],
    examples: [
      "lowrank sweep --config my.yaml --grid lora.r=1,2,4,8,16 --suite suite.yaml",
      "lowrank sweep --config my.yaml --grid lora.target_modules=all-linear,[q_proj,v_proj] --grid optimizer.lr=1e-4,5e-4 data.validation=0.1",
    ],
    load: async () => (await import("../sweep.js")).sweepVerb,
  },
  {
    name: "plan",
    onlyPrints: true,
    summary: "what a run will take: parameters, memory, time",
    description:
      "Memory comes from the run's graphs, time from a short calibration on this machine; of the base only the configuration and " +
      "the tokenizer are read. Exits with 1 when the run does not fit.",
    args: [["[overrides...]", "config keys, e.g. checkpointing=true"]],
    options: [
      config,
      { ...base, description: `${base.description} (key base)` },
      rows("training rows (key data.train)"),
      { flags: "--ranks <n>", description: "model a step of n ranks (docs/distributed.md)" },
      { flags: "--network <gbits>", description: "gigabits a second from rank to rank; unless given 10" },
      { flags: "--latency <ms>", description: "milliseconds until a message arrives; unless given 0.05" },
      {
        flags: "--jitter <percent>",
        description: "standard deviation of a rank's equal steps, in percent; unless given 2",
      },
      json,
    ],
    examples: [
      "lowrank plan --config my.yaml",
      "lowrank plan --config my.yaml checkpointing=true batch_size=2 --json",
      "lowrank plan --config my.yaml --ranks 64 --network 10",
    ],
    load: async () => (await import("../plan.js")).plan,
  },
  {
    name: "preview",
    onlyPrints: true,
    summary: "show the rows as the model will see them",
    description: "Tokens are coloured by whether the loss is taken on them; lengths, packing and dropped rows follow.",
    args: [["[overrides...]", "config keys, e.g. data.train_on=all"]],
    options: [
      config,
      { ...base, description: `${base.description} (key base)` },
      rows("training rows (key data.train)"),
      { flags: "--rows <n>", description: "rows shown; --json shows all unless given" },
      { flags: "--json", description: 'one line a row: {"index", "ids", "supervised"}' },
    ],
    examples: ["lowrank preview --config my.yaml", "lowrank preview --base models/llama --data rows.jsonl --json"],
    load: async () => (await import("../preview.js")).preview,
  },
  {
    name: "augment",
    summary: "make rows that teach a model to say what it does not know",
    description:
      "Takes rows of one question and its answer, finds who and what they are about, and writes them with twins that are answered " +
      '"I don\'t know": an unknown name asked for what was taught, a taught one asked for what was not. With --known the base answers ' +
      "everyday questions in its own words. Read the file, and edit it, before you train. See docs/abstain.md.",
    options: [
      { flags: "--data <file>", description: "rows: JSONL, JSON, CSV, TSV or Parquet", required: true },
      { flags: "--output <file>", description: "JSONL that is written: the rows, then what was made", required: true },
      { flags: "--abstain <share>", description: 'share of all rows that answer "I don\'t know"', fallback: "0.3" },
      { flags: "--refusal <text>", description: "that answer; default: the one that the rows have most" },
      { flags: "--entities <file>", description: "names, one a line; default: the capitalised words of the questions" },
      { flags: "--wordings <file>", description: "further ways to ask, one a line, with {question} in each" },
      { flags: "--rewordings <n>", description: "further wordings of each fact, made by rule", fallback: "0" },
      {
        flags: "--known [file]",
        description: "questions, one a line, that --base answers itself; without a file, everyday ones",
      },
      {
        flags: "--wordings-url <url>",
        description:
          "OpenAI-compatible API whose model writes further ways to ask, e.g. http://127.0.0.1:8000/v1; OPENAI_API_KEY is sent to it",
      },
      { flags: "--wordings-model <name>", description: "the model behind --wordings-url" },
      {
        flags: "--wordings-per-question <n>",
        description: "ways to ask that are kept of what it writes for a question",
        fallback: "3",
      },
      { ...base, description: `${base.description}; with --known` },
      { flags: "--seed <n>", description: "seed of the draws", fallback: "0" },
      templateArguments,
      ...held,
      ...engine,
      json,
    ],
    examples: [
      "lowrank augment --data facts.jsonl --output rows.jsonl",
      "lowrank augment --data facts.jsonl --wordings-url http://127.0.0.1:8000/v1 --wordings-model llama --output rows.jsonl",
      "lowrank augment --data facts.jsonl --known everyday.txt --base models/llama --abstain 0.25 --output rows.jsonl",
    ],
    load: async () => (await import("../augment.js")).augmentVerb,
  },
];

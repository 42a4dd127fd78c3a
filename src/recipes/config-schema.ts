import { z } from "zod";
import { INITS, KIND_KEYS, type KindKey, kindOf } from "../adapters/index.js";
import { trainOnNames } from "../data/row.js";
import { sourceTitles } from "../data/sources/index.js";
import { DEVICE_NAMES } from "../runtime/device-names.js";
import { argumentFault } from "../tokenizers/template-arguments.js";
import { SCHEDULE_NAMES } from "../training/schedule.js";
import { BASE_PRECISIONS } from "../weights/base-precision.js";
import { communicatorSchema, wrongLocalSteps } from "./communicator-schema.js";
import { evaluationKeys, wrongEvaluation } from "./evaluation-schema.js";
import { idleInitKeys, initKeys } from "./init-schema.js";
import type { CamelKeys } from "./names.js";
import { objectiveSchema, wholeStepType } from "./objective-schema.js";
import { optimizerSchema } from "./optimizer-schema.js";
import { parallelSchema, wrongParallel } from "./parallel-schema.js";
import { wrongSampling } from "./sampling-schema.js";
import { byModule, choice, count, keysOf, meanings, path } from "./schema-parts.js";
import { SCALES } from "./suite/scales.js";
import { TRACKERS } from "./trackers/index.js";
import { columnsSchema, formatSchema, trainFilesSchema, wrongFiles } from "./train-files.js";

/** A key for each kind of adapter but plain LoRA. */
const kindKeys = Object.fromEntries(
  KIND_KEYS.map(([key, kind]) => [key, z.boolean().default(false).describe(kindOf(kind).description!)]),
) as Record<KindKey, z.ZodDefault<z.ZodBoolean>>;

/**
 * The training config: every key, its type, default and meaning. Files, flags, the TypeScript types and the reference in
 * docs/config.md are all derived from this table.
 */
const trainTable = z.strictObject({
  base: path(
    z.string().min(1),
    "Base model: a Hugging Face folder, a GGUF file, or the `owner/name` of a model that `lowrank download` fetched.",
  ),
  adapter: path(z.string().min(1).nullable().default(null), "PEFT adapter folder to continue training from."),
  output_dir: path(
    z.string().min(1).default("runs/lora"),
    "Folder that receives the adapter, checkpoints, metrics, config and manifest: a new one, an empty one, or a run's.",
  ),
  seed: count(0)
    .max(0xffffffff)
    .default(42)
    .describe("Seed of every random draw: adapter weights, dropout, shuffling, validation split."),
  device: choice(DEVICE_NAMES).default("auto").describe("Where the engine runs."),
  precision: choice(["f32", "bf16"])
    .default("f32")
    .describe(
      "What the linear layers are computed in while training and evaluating; bf16 is faster, rounds more (docs/precision.md), and needs OpenVINO and a CPU with bf16. Adapters, attention, loss and optimiser are f32 in either.",
    ),
  base_precision: choice(BASE_PRECISIONS)
    .default("f32")
    .describe(
      "How the frozen base is held in memory: f32 (4 bytes a weight), f16 (2), int8 (1.06), nf4 (0.56, as QLoRA) or native (as its file stores it, GGUF's quantised types too). Each block is decoded to f32 when it is used (docs/precision.md).",
    ),
  bnb_4bit_use_double_quant: z
    .boolean()
    .default(false)
    .describe(
      "With base_precision nf4: its scales in 8 bits too, as bitsandbytes' double quantisation; 0.52 bytes a weight instead of 0.56.",
    ),
  base_cache: path(
    z.union([z.boolean(), z.string().min(1)]).default(false),
    "With base_precision f16, int8 or nf4: keep the base on the disk as it is held, so that the next run need not make it again. true: in .lowrank-cache beside the model's weights; or a folder.",
  ),
  base_offload: choice(["none", "disk"])
    .default("none")
    .describe(
      "disk: the base stays in its file and each block is read when a step needs it, for a base larger than the memory.",
    ),
  threads: count(0).max(1024).default(0).describe("Threads of the engine; 0: one per physical core."),
  full_finetune: z
    .boolean()
    .default(false)
    .describe("Train every weight of the model instead of an adapter; the result is a whole model in `model/`."),
  lora: z
    .strictObject({
      r: count(1).max(4096).default(8).describe("Rank of the update BA."),
      alpha: z.number().positive().default(16).describe("Scale: the update is multiplied by alpha / r."),
      dropout: z.number().min(0).lt(1).default(0).describe("Share of the adapter's inputs dropped while training."),
      target_modules: z
        .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
        .default(["q_proj", "v_proj"])
        .describe(
          "Linear layers that carry an adapter: a list of names or module paths, a regular expression over whole module paths, or one of `all-linear`, `attention` and `mlp`.",
        ),
      exclude_modules: z
        .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
        .nullable()
        .default(null)
        .describe(
          "Linear layers among these that carry none, as PEFT's: a list of names or module paths, or a regular expression over whole paths.",
        ),
      modules_to_save: z
        .array(z.string().min(1))
        .min(1)
        .nullable()
        .default(null)
        .describe(
          "Modules whose own weights are trained and saved whole beside the adapter, as PEFT's: ends of module paths, e.g. `[norm, lm_head, embed_tokens]`.",
        ),
      trainable_token_indices: z
        .array(count(0))
        .min(1)
        .nullable()
        .default(null)
        .describe(
          "Tokens whose rows of the embedding are trained and saved, by their ids, as PEFT's; a head that is tied to the embedding has the same rows.",
        ),
      init: keysOf(INITS)
        .default("gaussian")
        .describe(`How the factors start. ${meanings(INITS)}`),
      ...initKeys,
      use_rslora: z.boolean().default(false).describe("Scale by alpha / sqrt(r) instead of alpha / r."),
      ...kindKeys,
      layers_to_transform: z
        .union([count(0), z.array(count(0)).min(1)])
        .nullable()
        .default(null)
        .describe("Layer indices that carry adapters; null: every layer."),
      rank_pattern: byModule(count(1).max(4096)).describe(
        "Other ranks of single modules, as PEFT's: a linear layer's name, or a regular expression for the end of module paths, e.g. `{v_proj: 16}`. The first that matches counts.",
      ),
      alpha_pattern: byModule(z.number().positive()).describe("Other alphas of single modules, in the same way."),
    })
    .prefault({})
    .describe("The adapter."),
  data: z
    .strictObject({
      train: path(
        trainFilesSchema,
        `Training rows: a file (${sourceTitles}, also packed as .gz), a list of files, or a list of {path, weight, format, columns}, mixed by weight (docs/data.md).`,
      ),
      validation: path(
        z
          .union([z.string().min(1), z.number().gt(0).lt(1)])
          .nullable()
          .default(null),
        "Validation rows: a file, or the share of the training rows (0 to 1) that is held back.",
      ),
      format: formatSchema.default("auto").describe("What a row looks like; auto: told from its keys."),
      columns: columnsSchema
        .default({})
        .describe("Which column of a file is which field of a row, e.g. `{prompt: question, completion: answer}`."),
      max_seq_len: count(2).default(1024).describe("Longest row, in tokens."),
      packing: z
        .boolean()
        .default(false)
        .describe("Fill micro-batches to batch_size x max_seq_len tokens with as many rows as fit, without leaks."),
      shuffle: z.boolean().default(true).describe("Shuffle the rows anew in every epoch, by the seed."),
      train_on: choice(["auto", ...trainOnNames])
        .default("auto")
        .describe(
          "Tokens the loss is taken on: every assistant turn, the last one, the completion, or all. auto: assistant turns of messages, completions of prompts, all of plain text. Assistant turns of weight 0 never.",
        ),
      chat_template_kwargs: z
        .record(z.string(), z.unknown())
        .superRefine((given, context) => {
          for (const name of Object.keys(given)) {
            const fault = argumentFault(name);
            if (fault) context.addIssue({ code: "custom", message: `'${name}' ${fault}` });
          }
        })
        .default({})
        .describe(
          "Arguments of the chat template by name, as transformers' `apply_chat_template` takes them, e.g. `{enable_thinking: false}`; kept with the adapter.",
        ),
      abstain: z
        .number()
        .min(0)
        .max(0.9)
        .nullable()
        .default(null)
        .describe(
          "Share of the rows that answer \"I don't know\": twins of taught rows are made up to it, as lowrank augment makes them (docs/abstain.md), and written to twins.jsonl in the run's folder; null: none.",
        ),
      known: path(
        z
          .union([z.boolean(), z.string().min(1)])
          .nullable()
          .default(null),
        "With data.abstain: a file of questions, one a line, that the base answers in its own words; true: everyday questions that come with lowrank, those that the base answers right.",
      ),
      rewordings: count(0)
        .max(20)
        .default(0)
        .describe("With data.abstain: so many further wordings of each taught fact, which are made by rule."),
      twin_variety: count(1)
        .max(50)
        .default(1)
        .describe(
          "With data.abstain: so many times the twins of an epoch are made, and each epoch takes others; above 1 an epoch is longer, as data.train's weights say.",
        ),
      on_overflow: choice(["truncate", "skip", "fail"])
        .default("truncate")
        .describe("What happens to rows longer than max_seq_len."),
    })
    .superRefine(({ train, format, columns }, context) => {
      for (const message of wrongFiles(train, format, columns)) context.addIssue({ code: "custom", ...message });
    })
    .describe("The rows."),
  objective: objectiveSchema,
  optimizer: optimizerSchema,
  schedule: z
    .strictObject({
      name: choice(SCHEDULE_NAMES)
        .default("cosine")
        .describe("Course of the learning rate after the warm-up: level, or falling to zero at the last step."),
      warmup_steps: count(0).default(0).describe("Steps over which the learning rate rises from zero."),
    })
    .prefault({})
    .describe("The learning rate's course."),
  batch_size: count(1).default(4).describe("Rows of one micro-batch."),
  gradient_accumulation_steps: count(1).default(1).describe("Micro-batches of one optimiser step."),
  parallel: parallelSchema,
  communicator: communicatorSchema,
  neftune_alpha: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe(
      "NEFTune: uniform noise on the embeddings while training, within alpha / sqrt(tokens of the text x hidden size), drawn by the seed; 5 to 15 are usual. null: none.",
    ),
  max_grad_norm: z.number().min(0).default(1).describe("Gradients are scaled down to this norm; 0: never."),
  epochs: count(1).default(1).describe("Passes over the rows."),
  max_steps: count(1)
    .nullable()
    .default(null)
    .describe("Optimiser steps of the whole run; replaces `epochs`, and rows repeat as needed."),
  checkpointing: z
    .boolean()
    .default(false)
    .describe("Gradient checkpointing: keep only each layer's input and compute the rest again in the backward."),
  save_every: count(0).default(100).describe("Optimiser steps between checkpoints; 0: only at the end."),
  keep_last: count(1).default(2).describe("Checkpoints kept; older ones are deleted."),
  report_to: z
    .array(keysOf(TRACKERS))
    .default([])
    .describe(
      "Trackers that get the run's metrics as well: `mlflow`, `wandb` (docs/trackers.md). Nothing is sent anywhere unless one is named.",
    ),
  ...evaluationKeys,
  scale: z
    .strictObject({
      suite: path(
        z.string().min(1).nullable().default(null),
        "A suite (docs/suites.md) that is asked at each of these scales of the trained adapter, which is written at the best; null: it is left as it was trained.",
      ),
      scales: z
        .array(z.number().gt(0).max(2))
        .min(1)
        .default([...SCALES])
        .describe("The scales that are tried, times the adapter's own."),
    })
    .prefault({})
    .describe("The adapter's scale after training."),
});

/** The same, with what does not go together in it refused. */
export const trainSchema = trainTable.superRefine((asked, context) => {
  const { full_finetune: full, lora, objective, optimizer } = asked;
  const refuse = (path: string[], message: string) => context.addIssue({ code: "custom", path, message });
  const { data, generate } = objective.keep;
  if (full && (data !== null || generate !== null))
    refuse(
      ["objective", "keep"],
      "compares with the base that an adapter leaves as it was; with full_finetune there is none",
    );
  if (full && objective.name === "distill" && objective.teacher === "base")
    refuse(
      ["objective", "teacher"],
      "base is the model without its adapter; with full_finetune there is none, so name another base",
    );
  const whole = wholeStepType(objective);
  if (whole && asked.gradient_accumulation_steps > 1)
    refuse(
      ["gradient_accumulation_steps"],
      `objective.loss_type ${whole} compares all pairs of a step with each other, so a step must be one micro-batch: set it to 1 and raise batch_size`,
    );
  for (const { key, message } of idleInitKeys(lora)) refuse(["lora", key], message);
  if (full && optimizer.loraplus_lr_ratio !== null)
    refuse(["optimizer", "loraplus_lr_ratio"], "is the rate of adapters' B; full_finetune has no adapter");
  const wrong = wrongEvaluation(asked) ?? wrongSampling(asked) ?? wrongParallel(asked) ?? wrongLocalSteps(asked, whole);
  if (wrong) context.addIssue({ code: "custom", ...wrong });
});

/** The resolved config as it is on disk. */
export type TrainConfigOnDisk = z.output<typeof trainSchema>;
/** The resolved config: every key present. */
export type TrainConfig = CamelKeys<TrainConfigOnDisk>;
/** What a caller may write: keys with a default can be left out. `TrainOptions` is the same with words to each key. */
export type TrainInput = CamelKeys<z.input<typeof trainSchema>>;
export type { TrainOptions } from "./train-options.js";

// Generated from the schema in config-schema.ts: npx vitest run src/cli/reference.test.ts -u
import type { TrainInput } from "./config-schema.js";

type Section<K extends keyof TrainInput> = NonNullable<TrainInput[K]>;

/** What a run is told: the config's keys in camelCase. */
export interface TrainOptions {
  /**
   * Base model: a Hugging Face folder, a GGUF file, or the `owner/name` of a model that `lowrank download`
   * fetched.
   */
  base: TrainInput["base"];
  /** PEFT adapter folder to continue training from. Default: none. */
  adapter?: TrainInput["adapter"];
  /**
   * Folder that receives the adapter, checkpoints, metrics, config and manifest: a new one, an empty one, or a
   * run's. Default: "runs/lora".
   */
  outputDir?: TrainInput["outputDir"];
  /** Seed of every random draw: adapter weights, dropout, shuffling, validation split. Default: 42. */
  seed?: TrainInput["seed"];
  /** Where the engine runs. Default: "auto". */
  device?: TrainInput["device"];
  /**
   * What the linear layers are computed in while training and evaluating; bf16 is faster, rounds more
   * (docs/precision.md), and needs OpenVINO and a CPU with bf16. Adapters, attention, loss and optimiser are f32
   * in either. Default: "f32".
   */
  precision?: TrainInput["precision"];
  /**
   * How the frozen base is held in memory: f32 (4 bytes a weight), f16 (2), int8 (1.06), nf4 (0.56, as QLoRA) or
   * native (as its file stores it, GGUF's quantised types too). Each block is decoded to f32 when it is used
   * (docs/precision.md). Default: "f32".
   */
  basePrecision?: TrainInput["basePrecision"];
  /**
   * With base_precision nf4: its scales in 8 bits too, as bitsandbytes' double quantisation; 0.52 bytes a weight
   * instead of 0.56. Default: false.
   */
  bnb4bitUseDoubleQuant?: TrainInput["bnb4bitUseDoubleQuant"];
  /**
   * With base_precision f16, int8 or nf4: keep the base on the disk as it is held, so that the next run need not
   * make it again. true: in .lowrank-cache beside the model's weights; or a folder. Default: false.
   */
  baseCache?: TrainInput["baseCache"];
  /**
   * disk: the base stays in its file and each block is read when a step needs it, for a base larger than the
   * memory. Default: "none".
   */
  baseOffload?: TrainInput["baseOffload"];
  /** Threads of the engine; 0: one per physical core. Default: 0. */
  threads?: TrainInput["threads"];
  /**
   * Train every weight of the model instead of an adapter; the result is a whole model in `model/`. Default:
   * false.
   */
  fullFinetune?: TrainInput["fullFinetune"];
  /** Rows of one micro-batch. Default: 4. */
  batchSize?: TrainInput["batchSize"];
  /** Micro-batches of one optimiser step. Default: 1. */
  gradientAccumulationSteps?: TrainInput["gradientAccumulationSteps"];
  /**
   * NEFTune: uniform noise on the embeddings while training, within alpha / sqrt(tokens of the text x hidden
   * size), drawn by the seed; 5 to 15 are usual. null: none. Default: none.
   */
  neftuneAlpha?: TrainInput["neftuneAlpha"];
  /** Gradients are scaled down to this norm; 0: never. Default: 1. */
  maxGradNorm?: TrainInput["maxGradNorm"];
  /** Passes over the rows. Default: 1. */
  epochs?: TrainInput["epochs"];
  /** Optimiser steps of the whole run; replaces `epochs`, and rows repeat as needed. Default: none. */
  maxSteps?: TrainInput["maxSteps"];
  /**
   * Gradient checkpointing: keep only each layer's input and compute the rest again in the backward. Default:
   * false.
   */
  checkpointing?: TrainInput["checkpointing"];
  /** Optimiser steps between checkpoints; 0: only at the end. Default: 100. */
  saveEvery?: TrainInput["saveEvery"];
  /** Checkpoints kept; older ones are deleted. Default: 2. */
  keepLast?: TrainInput["keepLast"];
  /**
   * Trackers that get the run's metrics as well: `mlflow`, `wandb` (docs/trackers.md). Nothing is sent anywhere
   * unless one is named. Default: [].
   */
  reportTo?: TrainInput["reportTo"];
  /**
   * Optimiser steps between evaluations; 0: only at the end. What is evaluated: data.validation, eval_suite,
   * samples (docs/evaluations.md). Default: 100.
   */
  evalEvery?: TrainInput["evalEvery"];
  /**
   * A suite (docs/suites.md) that is asked at every evaluation; its figures are `eval_suite/facts` and so on in
   * metrics.jsonl. Default: none.
   */
  evalSuite?: TrainInput["evalSuite"];
  /**
   * The figure of evaluations by which checkpoints/best is chosen, as metrics.jsonl names it: `eval_loss`,
   * `eval_suite/facts`, ...; `eval_` may be left out. null: eval_loss (of grpo eval_reward) with
   * data.validation, else eval_suite/score. Default: none.
   */
  metricForBestModel?: TrainInput["metricForBestModel"];
  /**
   * Whether more of that figure is better. null: as the figure has it; less of a loss, more of the facts.
   * Default: none.
   */
  greaterIsBetter?: TrainInput["greaterIsBetter"];
  /** Write the adapter of the best evaluation as the result, and not that of the last step. Default: false. */
  loadBestModelAtEnd?: TrainInput["loadBestModelAtEnd"];
  /** End the run after so many evaluations one after the other in which the figure got no better. Default: none. */
  earlyStoppingPatience?: TrainInput["earlyStoppingPatience"];
  /** By how much more than this a figure has to get better to count against the patience. Default: 0. */
  earlyStoppingThreshold?: TrainInput["earlyStoppingThreshold"];
  /** The adapter. Default: the defaults of its keys. */
  lora?: LoraOptions;
  /** The rows. */
  data: DataOptions;
  /** What is learned from the rows. Default: the defaults of its keys. */
  objective?: ObjectiveOptions;
  /** The optimiser. Default: the defaults of its keys. */
  optimizer?: OptimizerOptions;
  /** The learning rate's course. Default: the defaults of its keys. */
  schedule?: ScheduleOptions;
  /** How a run is spread over ranks. Default: the defaults of its keys. */
  parallel?: ParallelOptions;
  /** What ranks send each other, and when. Default: the defaults of its keys. */
  communicator?: CommunicatorOptions;
  /** Prompts that base and adapter answer side by side at every evaluation. Default: the defaults of its keys. */
  samples?: SamplesOptions;
  /** The adapter's scale after training. Default: the defaults of its keys. */
  scale?: ScaleOptions;
}

/** `lora` of the config. */
export interface LoraOptions {
  /** Rank of the update BA. Default: 8. */
  r?: Section<"lora">["r"];
  /** Scale: the update is multiplied by alpha / r. Default: 16. */
  alpha?: Section<"lora">["alpha"];
  /** Share of the adapter's inputs dropped while training. Default: 0. */
  dropout?: Section<"lora">["dropout"];
  /**
   * Linear layers that carry an adapter: a list of names or module paths, a regular expression over whole module
   * paths, or one of `all-linear`, `attention` and `mlp`. Default: ["q_proj","v_proj"].
   */
  targetModules?: Section<"lora">["targetModules"];
  /**
   * Linear layers among these that carry none, as PEFT's: a list of names or module paths, or a regular
   * expression over whole paths. Default: none.
   */
  excludeModules?: Section<"lora">["excludeModules"];
  /**
   * Modules whose own weights are trained and saved whole beside the adapter, as PEFT's: ends of module paths,
   * e.g. `[norm, lm_head, embed_tokens]`. Default: none.
   */
  modulesToSave?: Section<"lora">["modulesToSave"];
  /**
   * Tokens whose rows of the embedding are trained and saved, by their ids, as PEFT's; a head that is tied to
   * the embedding has the same rows. Default: none.
   */
  trainableTokenIndices?: Section<"lora">["trainableTokenIndices"];
  /**
   * How the factors start. gaussian: A normal with deviation 1/r, B zero; kaiming: A uniform in +-1/sqrt(in), as
   * PEFT's default, B zero; pissa: the leading singular directions of the weight, which are taken out of it
   * (PiSSA); olora: the first columns of the weight's QR decomposition, which are taken out of it (OLoRA);
   * loftq: what holding the weight in few bits loses, along its leading singular directions (LoftQ); eva: A of
   * the leading principal components of the layer's inputs on the training rows, B zero (EVA). Default:
   * "gaussian".
   */
  init?: Section<"lora">["init"];
  /** Scale by alpha / sqrt(r) instead of alpha / r. Default: false. */
  useRslora?: Section<"lora">["useRslora"];
  /** DoRA: each row of the adapted weight also gets a magnitude of its own, which is trained. Default: false. */
  useDora?: Section<"lora">["useDora"];
  /** LoRA with a trained bias on B: what an adapted layer gives is shifted too. Default: false. */
  loraBias?: Section<"lora">["loraBias"];
  /** Layer indices that carry adapters; null: every layer. Default: none. */
  layersToTransform?: Section<"lora">["layersToTransform"];
  /**
   * Other ranks of single modules, as PEFT's: a linear layer's name, or a regular expression for the end of
   * module paths, e.g. `{v_proj: 16}`. The first that matches counts. Default: {}.
   */
  rankPattern?: Section<"lora">["rankPattern"];
  /** Other alphas of single modules, in the same way. Default: {}. */
  alphaPattern?: Section<"lora">["alphaPattern"];
  /** Of lora.init loftq, as PEFT's. Default: the defaults of its keys. */
  loftqConfig?: LoftqConfigOptions;
  /** Of lora.init eva, as PEFT's. Default: the defaults of its keys. */
  evaConfig?: EvaConfigOptions;
}

/** `lora.loftq_config` of the config. */
export interface LoftqConfigOptions {
  /** Bits in which the base is held: 4 with base_precision nf4, 8 with int8. Default: 4. */
  loftqBits?: NonNullable<Section<"lora">["loftqConfig"]>["loftqBits"];
  /** Rounds; from the second on the base is held without what the factors say, for this run alone. Default: 1. */
  loftqIter?: NonNullable<Section<"lora">["loftqConfig"]>["loftqIter"];
}

/** `lora.eva_config` of the config. */
export interface EvaConfigOptions {
  /** A layer gets at most so many times its rank; 1: each keeps its own. Default: 2. */
  rho?: NonNullable<Section<"lora">["evaConfig"]>["rho"];
  /** Components that a micro-batch turns by a cosine of no less than this have converged. Default: 0.99. */
  tau?: NonNullable<Section<"lora">["evaConfig"]>["tau"];
  /** Only tokens that are learned count. Default: true. */
  useLabelMask?: NonNullable<Section<"lora">["evaConfig"]>["useLabelMask"];
  /** Divide components by the root of their singular value. Default: false. */
  whiten?: NonNullable<Section<"lora">["evaConfig"]>["whiten"];
  /** Alpha follows the rank that a layer gets, so that its scale stays. Default: true. */
  adjustScalingFactors?: NonNullable<Section<"lora">["evaConfig"]>["adjustScalingFactors"];
}

/** `data` of the config. */
export interface DataOptions {
  /**
   * Training rows: a file (JSONL, JSON, CSV, TSV, Parquet, also packed as .gz), a list of files, or a list of
   * {path, weight, format, columns}, mixed by weight (docs/data.md).
   */
  train: Section<"data">["train"];
  /** Validation rows: a file, or the share of the training rows (0 to 1) that is held back. Default: none. */
  validation?: Section<"data">["validation"];
  /** What a row looks like; auto: told from its keys. Default: "auto". */
  format?: Section<"data">["format"];
  /** Which column of a file is which field of a row, e.g. `{prompt: question, completion: answer}`. Default: {}. */
  columns?: Section<"data">["columns"];
  /** Longest row, in tokens. Default: 1024. */
  maxSeqLen?: Section<"data">["maxSeqLen"];
  /**
   * Fill micro-batches to batch_size x max_seq_len tokens with as many rows as fit, without leaks. Default:
   * false.
   */
  packing?: Section<"data">["packing"];
  /** Shuffle the rows anew in every epoch, by the seed. Default: true. */
  shuffle?: Section<"data">["shuffle"];
  /**
   * Tokens the loss is taken on: every assistant turn, the last one, the completion, or all. auto: assistant
   * turns of messages, completions of prompts, all of plain text. Assistant turns of weight 0 never. Default:
   * "auto".
   */
  trainOn?: Section<"data">["trainOn"];
  /**
   * Arguments of the chat template by name, as transformers' `apply_chat_template` takes them, e.g.
   * `{enable_thinking: false}`; kept with the adapter. Default: {}.
   */
  chatTemplateKwargs?: Section<"data">["chatTemplateKwargs"];
  /**
   * Share of the rows that answer "I don't know": twins of taught rows are made up to it, as lowrank augment
   * makes them (docs/abstain.md), and written to twins.jsonl in the run's folder; null: none. Default: none.
   */
  abstain?: Section<"data">["abstain"];
  /**
   * With data.abstain: a file of questions, one a line, that the base answers in its own words; true: everyday
   * questions that come with lowrank, those that the base answers right. Default: none.
   */
  known?: Section<"data">["known"];
  /** With data.abstain: so many further wordings of each taught fact, which are made by rule. Default: 0. */
  rewordings?: Section<"data">["rewordings"];
  /**
   * With data.abstain: so many times the twins of an epoch are made, and each epoch takes others; above 1 an
   * epoch is longer, as data.train's weights say. Default: 1.
   */
  twinVariety?: Section<"data">["twinVariety"];
  /** What happens to rows longer than max_seq_len. Default: "truncate". */
  onOverflow?: Section<"data">["onOverflow"];
}

/** `objective` of the config. */
export interface ObjectiveOptions {
  /**
   * What is learned (docs/objectives.md, docs/grpo.md). sft: cross entropy of answers; dpo: better answers over
   * worse ones, against a reference; kto: answers marked good or bad, against a reference; orpo: cross entropy
   * of better answers and their odds over worse ones; simpo: better answers likelier per token than worse ones,
   * by a margin; cpo: better answers over worse ones without a reference, and their cross entropy; distill: the
   * distributions of a teacher: another base, or the base with another prompt; grpo: the model's own completions
   * by their rewards, against one another. Default: "sft".
   */
  name?: Section<"objective">["name"];
  /**
   * How strongly preferences count, or how near the reference stays; above 0, but in grpo, where 0 does without
   * one. null: dpo 0.1, kto 0.1, orpo 0.1, simpo 2.5, cpo 0.1, grpo 0. Default: none.
   */
  beta?: Section<"objective">["beta"];
  /**
   * The loss, by TRL's names; with dpo a list is a sum. null: dpo sigmoid, kto kto, cpo sigmoid, grpo dapo.
   * Default: none.
   */
  lossType?: Section<"objective">["lossType"];
  /** Weights of the losses of a list; null: 1 each. Default: none. */
  lossWeights?: Section<"objective">["lossWeights"];
  /** Share of the pairs that is taken to be the wrong way round. null: dpo 0, simpo 0, cpo 0. Default: none. */
  labelSmoothing?: Section<"objective">["labelSmoothing"];
  /** How far a better answer is to be ahead. null: simpo 1.375. Default: none. */
  gamma?: Section<"objective">["gamma"];
  /** Weight of good answers in the loss. null: kto 1. Default: none. */
  desirableWeight?: Section<"objective">["desirableWeight"];
  /** Weight of bad answers in the loss. null: kto 1. Default: none. */
  undesirableWeight?: Section<"objective">["undesirableWeight"];
  /** Completions that are sampled for each prompt. null: grpo 8. Default: none. */
  numGenerations?: Section<"objective">["numGenerations"];
  /** The same in validations. null: as many as in training. Default: none. */
  numGenerationsEval?: Section<"objective">["numGenerationsEval"];
  /** Tokens of a completion at most. null: grpo 512, distill with lmbda 128. Default: none. */
  maxCompletionLength?: Section<"objective">["maxCompletionLength"];
  /**
   * Logits are divided by this: with grpo where completions are sampled and where they are learned from, with
   * distill those of both models. null: distill 1, grpo 1. Default: none.
   */
  temperature?: Section<"objective">["temperature"];
  /** Sample from the likeliest tokens that have this probability. null: grpo 1. Default: none. */
  topP?: Section<"objective">["topP"];
  /**
   * With grpo: sample from so many of the likeliest tokens; 0: from all. With distill and forward, at least 1:
   * only the teacher's so many likeliest tokens are told apart, asked for once before training and kept in the
   * run's folder. null: grpo 0, distill the whole distribution. Default: none.
   */
  topK?: Section<"objective">["topK"];
  /** Sample from tokens with this share of the likeliest one's. null: grpo 0. Default: none. */
  minP?: Section<"objective">["minP"];
  /** What logits of tokens are divided by that are in the text already. null: grpo 1. Default: none. */
  repetitionPenalty?: Section<"objective">["repetitionPenalty"];
  /** How far below 1 the ratio to the model that sampled counts. null: grpo 0.2. Default: none. */
  epsilon?: Section<"objective">["epsilon"];
  /** How far above 1 it counts. null: as epsilon. Default: none. */
  epsilonHigh?: Section<"objective">["epsilonHigh"];
  /** What the ratio is bounded by where an advantage is negative. null: nothing. Default: none. */
  delta?: Section<"objective">["delta"];
  /** Whether the ratio is each token's own, or its completion's (GSPO). null: grpo token. Default: none. */
  importanceSamplingLevel?: Section<"objective">["importanceSamplingLevel"];
  /**
   * Whose standard deviation advantages are divided by: group (or true): the completions of a prompt; batch:
   * those of a step; none (or false): they are not. null: grpo group. Default: none.
   */
  scaleRewards?: Section<"objective">["scaleRewards"];
  /**
   * Whether rewards are added up and then scaled, or each is scaled first (GDPO). null: grpo sum_then_normalize.
   * Default: none.
   */
  multiObjectiveAggregation?: Section<"objective">["multiObjectiveAggregation"];
  /** Steps that learn from the same completions. null: grpo 1. Default: none. */
  numIterations?: Section<"objective">["numIterations"];
  /** Learn nothing from completions that were cut off. null: grpo false. Default: none. */
  maskTruncatedCompletions?: Section<"objective">["maskTruncatedCompletions"];
  /** Multiply the KL of beta by the ratio to the model that sampled. null: grpo true. Default: none. */
  useBiasCorrectionKl?: Section<"objective">["useBiasCorrectionKl"];
  /**
   * What grpo rewards completions for, a list of maps with name, weight (1), id (what the metrics are called)
   * and settings. exact_match: 1 for what the column (answer) says, a text or one of a list; normalise compares
   * without case and marks; regex: 1 where a regular expression (Python's) is found: pattern, or a column that
   * holds one; whole: it is all of the text; json: 1 for JSON and nothing around it; with keys, for an object
   * that has all of them; length: 1 for so many tokens, words or characters (unit) from min to max, less
   * outside: n / min, 2 - n / max, at least 0; judge: the number that a model gives, by max (10): url (OpenAI's
   * API up to /v1), model, key (the environment variable that holds its key), question with {prompt},
   * {completion}, {max} and columns in it, tries, seconds for one, parallel. Default: none.
   */
  rewards?: Section<"objective">["rewards"];
  /** With discopop: how sharply its two losses are blended. null: dpo 0.05. Default: none. */
  discopopTau?: Section<"objective">["discopopTau"];
  /**
   * What dpo and kto and grpo compare with. base: the model without the adapter; or the folder of another
   * adapter. Default: "base".
   */
  reference?: Section<"objective">["reference"];
  /**
   * Whom distill learns from (docs/distillation.md). base: the model without the adapter, which reads more than
   * the model does; or another base of the same vocabulary. Default: "base".
   */
  teacher?: Section<"objective">["teacher"];
  /**
   * With distill: what the teacher reads before each row that has no teacher_prompt of its own: the system
   * message of a conversation, or before the prompt of a text. Default: none.
   */
  teacherPrompt?: Section<"objective">["teacherPrompt"];
  /**
   * With distill: forward: KL(teacher || model); reverse: KL(model || teacher); jsd: the Jensen-Shannon
   * divergence, generalised by beta as in TRL (0.5). null: distill forward. Default: none.
   */
  divergence?: Section<"objective">["divergence"];
  /**
   * With distill: the share of steps that learn from the model's own answers to the rows' prompts in place of
   * the rows' (on-policy distillation, as TRL's GKD), sampled at temperature, of max_completion_length tokens at
   * most. null: 0, none. Default: none.
   */
  lmbda?: Section<"objective">["lmbda"];
  /** Texts on which the model is to stay as it was. Default: the defaults of its keys. */
  keep?: KeepOptions;
}

/** `objective.keep` of the config. */
export interface KeepOptions {
  /**
   * With sft and an adapter: a file of rows, or several, on which the model is to stay as the base has it
   * (docs/keep.md), by KL(base || tuned) at every target. null: there are none. Default: none.
   */
  data?: NonNullable<Section<"objective">["keep"]>["data"];
  /**
   * In the place of a file: so many texts, which the base writes itself when a run begins, by the seed;
   * kept.jsonl in the run's folder, and half of those of a chat model without its template as kept-texts.jsonl.
   * Default: none.
   */
  generate?: NonNullable<Section<"objective">["keep"]>["generate"];
  /**
   * With generate: of every conversation the answer alone is kept, without the template. Where all rows answer
   * in a manner of their own, the base's conversations would hold it back. Default: false.
   */
  plain?: NonNullable<Section<"objective">["keep"]>["plain"];
  /** What their mean KL weighs beside the cross entropy. Default: 1. */
  weight?: NonNullable<Section<"objective">["keep"]>["weight"];
  /**
   * Share of a step's rows that are these, drawn anew for each step and trained on beside its own. Default:
   * 0.25.
   */
  share?: NonNullable<Section<"objective">["keep"]>["share"];
}

/** `optimizer` of the config. */
export interface OptimizerOptions {
  /**
   * adamw: AdamW with decoupled weight decay, as PyTorch's; adafactor: Adafactor without a first moment, as
   * transformers' Trainer has it, in less than half of AdamW's memory. Default: "adamw".
   */
  name?: Section<"optimizer">["name"];
  /** Peak learning rate. Default: 0.0002. */
  lr?: Section<"optimizer">["lr"];
  /** Decay of the first and second moments. Default: [0.9,0.999]. */
  betas?: Section<"optimizer">["betas"];
  /** Added to the root of the second moment. Default: 1e-8. */
  eps?: Section<"optimizer">["eps"];
  /** Decoupled weight decay. Default: 0.01. */
  weightDecay?: Section<"optimizer">["weightDecay"];
  /** LoRA+: B's learning rate is so many times `lr`, which stays A's; null: they have the same. Default: none. */
  loraplusLrRatio?: Section<"optimizer">["loraplusLrRatio"];
}

/** `schedule` of the config. */
export interface ScheduleOptions {
  /**
   * Course of the learning rate after the warm-up: level, or falling to zero at the last step. Default:
   * "cosine".
   */
  name?: Section<"schedule">["name"];
  /** Steps over which the learning rate rises from zero. Default: 0. */
  warmupSteps?: Section<"schedule">["warmupSteps"];
}

/** `parallel` of the config. */
export interface ParallelOptions {
  /**
   * Stages: so many ranks hold the base together, each a range of its blocks (docs/distributed.md). Ranks beyond
   * them train on other rows; their number is a multiple of this. Default: 1.
   */
  pipeline?: Section<"parallel">["pipeline"];
}

/** `communicator` of the config. */
export interface CommunicatorOptions {
  /**
   * DiLoCo: each rank takes so many steps by its own rows with an optimiser of its own before ranks agree on the
   * mean of what they moved by (docs/distributed.md); null: gradients are added up in every step. Default: none.
   */
  localSteps?: Section<"communicator">["localSteps"];
  /** With local_steps: learning rate of the outer optimiser, SGD with Nesterov momentum. Default: 0.7. */
  outerLr?: Section<"communicator">["outerLr"];
  /** With local_steps: its momentum. Default: 0.9. */
  outerMomentum?: Section<"communicator">["outerMomentum"];
}

/** `samples` of the config. */
export interface SamplesOptions {
  /** What base and adapter are asked at every evaluation; their answers are in samples.jsonl. Default: none. */
  prompts?: Section<"samples">["prompts"];
  /** In the place of prompts: a file of them, one a line. Default: none. */
  file?: Section<"samples">["file"];
  /** The most tokens of an answer. Default: 64. */
  maxNewTokens?: Section<"samples">["maxNewTokens"];
}

/** `scale` of the config. */
export interface ScaleOptions {
  /**
   * A suite (docs/suites.md) that is asked at each of these scales of the trained adapter, which is written at
   * the best; null: it is left as it was trained. Default: none.
   */
  suite?: Section<"scale">["suite"];
  /** The scales that are tried, times the adapter's own. Default: [0.5,0.6,0.7,0.8,0.9,1]. */
  scales?: Section<"scale">["scales"];
}

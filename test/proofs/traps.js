// What users of other systems ran into: the test that proves each absent, and a mutant that has it.
import { row } from "./table.js";

const [TRAPS_TEST, DATASET, TRAINER, API] = [
  "test/traps.test.ts",
  "src/data/dataset.test.ts",
  "test/numerics/trainer.test.ts",
  "test/recipes/api.test.ts",
];
const UPDATER = "src/training/updater.ts";
const [ENCODE, BLOCK_TRAINER, MERGE, FOLD, PEFT, FINETUNE] = [
  "src/data/encode.ts",
  "src/training/block-trainer.ts",
  "src/export/merge.ts",
  "src/adapters/host-update.ts",
  "src/formats/peft/adapter.ts",
  "src/recipes/lora-finetune.ts",
];

/** Prompt and completion tokenised apart and glued. */
const GLUED = `const [before, after] = [prompt, completion].map((part, i) =>
    tokenizer.encodeWithOffsets(part, { addSpecialTokens: i === 0 }));
  const moved = (places: readonly number[]) => places.map((place) => place + prompt.length);
  const encoding = {
    ids: [...before!.ids, ...after!.ids],
    starts: [...before!.starts, ...moved(after!.starts)],
    ends: [...before!.ends, ...moved(after!.ends)],
  };`;

export const TRAPS = [
  row(
    "trap 1: the end of a turn is masked",
    [DATASET, "trap 1: %s turns end with a supervised end token"],
    [ENCODE, "supervised.fill(0, end + 1, last + 1)", "supervised.fill(0, end, last + 1)"],
  ),
  row(
    "trap 1: a completion has no EOS",
    [DATASET, "trap 1: %s completions end with a supervised EOS"],
    [ENCODE, "if (row.ids.at(-1) !== tokenizer.eosId) {", "if (row.ids.length === 0) {"],
  ),
  row(
    "trap 1: EOS is masked because pad = eos",
    [TRAPS_TEST, "trap 1: a model tuned with pad = eos halts where its base rambles"],
    [ENCODE, "supervised.length - 1] = 1;", "supervised.length - 1] = Number(tokenizer.eosId !== tokenizer.padId);"],
  ),
  row(
    "trap 2: the tokenizer doubles a BOS",
    ["src/tokenizers/tokenizer.test.ts", "trap 2: never doubles the BOS"],
    ["src/tokenizers/tokenizer.ts", "around.before.at(-1)", "-1"],
  ),
  row(
    "trap 2: one of train, eval, generate and chat doubles a BOS",
    [TRAPS_TEST, "trap 2: exactly one BOS in train, eval, generate and chat ids"],
    ["src/tokenizers/tokenizer.ts", "around.before.at(-1)", "-1"],
  ),
  row(
    "trap 3: the template stays behind",
    [TRAPS_TEST, "trap 3: the template travels with the adapter and into the merged model"],
    [PEFT, "if (options.tokenizer) await writeTokenizer", "if (!path) await writeTokenizer"],
  ),
  row(
    "trap 3: a merged model has the base's template",
    [TRAPS_TEST, "trap 3: the template travels with the adapter and into the merged model"],
    ["src/export/subject.ts", 'names.includes("tokenizer.json")', 'names.includes("")'],
  ),
  row(
    "trap 4: prompt and completion are tokenised apart",
    [DATASET, "trap 4: tokenises prompt and completion as one text"],
    [ENCODE, "const encoding = await paced(tokenizer.encodeInSteps(text), pace);", GLUED],
  ),
  row(
    "trap 5: rows with every label masked are trained on",
    [DATASET, "trap 5: refuses a dataset with every label masked, naming the rows"],
    ["src/data/dataset.ts", "if (!learns) return fault(", "if (Date.now() < 0) return fault("],
  ),
  row(
    "trap 6: a gradient is the mean of the micro-batches' means",
    [TRAINER, "every gradient, packed or accumulated: no leak between samples"],
    [
      BLOCK_TRAINER,
      ".call(this, piece.batch, train, totals)",
      ".call(this, piece.batch, train, { tokens: batches.length * objective.count(piece.batch).tokens! })",
    ],
  ),
  row(
    "trap 6: a step's gradient is the mean of the micro-batches' means",
    [TRAINER, "ten AdamW steps with clipping and accumulation"],
    [
      BLOCK_TRAINER,
      ".call(this, piece.batch, train, totals)",
      ".call(this, piece.batch, train, { tokens: batches.length * objective.count(piece.batch).tokens! })",
    ],
  ),
  row(
    "trap 7: packed samples attend to each other, in the backward pass",
    [TRAINER, "every gradient, packed or accumulated: no leak between samples"],
    [
      "src/training/batch-layout.ts",
      "segments.push({ start, length, span,",
      "if (!start) segments.push({ start, length: tokens, span: multiple(16)(tokens),",
    ],
  ),
  row(
    "trap 7: packed samples attend to each other",
    [TRAINER, "loss of rows alone and packed"],
    [
      "src/training/batch-layout.ts",
      "segments.push({ start, length, span,",
      "if (!start) segments.push({ start, length: tokens, span: multiple(16)(tokens),",
    ],
  ),
  row(
    "trap 8: nothing moves",
    [TRAPS_TEST, "trap 8: every factor moves in step 1; after ten steps the base has the same bytes"],
    [
      UPDATER,
      "for (const pair of [this.own, ...[...this.kept.values()].map((kept) => kept.pair)]) pair.reverse();",
      "for (const { pair } of this.kept.values()) pair.reverse();",
    ],
  ),
  row(
    "trap 8: the base moves",
    [TRAPS_TEST, "trap 8: every factor moves in step 1; after ten steps the base has the same bytes"],
    [
      BLOCK_TRAINER,
      "if (applied) this.updater.update(this.gradient.total, lr, clip);",
      `this.updater.update(this.gradient.total, lr, clip);
    const [norm] = [...this.model.weights.values()].filter(({ shape }) => shape.length === 1);
    this.model.device.upload(norm!, new Float32Array(sizeOf(norm!.shape)));`,
    ],
  ),
  row(
    "trap 9: untrained tokens go unnoticed",
    ["src/tokenizers/special-tokens.test.ts", "trap 9: finds special tokens"],
    ["src/tokenizers/special-tokens.ts", "(norm < 0.1 * median || repeats.get(norm)! > 2)", "norm < 0.1 * median"],
  ),
  row(
    "trap 9: untrained tokens are not said",
    [TRAPS_TEST, "trap 9: tokens of the template that the base never trained are said before training"],
    [FINETUNE, "if (untrained) yield", 'if (untrained === "") yield'],
  ),
  ...Object.entries({
    "the place in the data": ["src/recipes/train-loop.ts", "loop.batches.seek(progress.cursor);", ""],
    "the step, which draws dropout and corrects moments": [UPDATER, "this.stepsDone = state.step;", ""],
    "the first moments": [
      UPDATER,
      "for (const [name, { layout, pair }] of this.kept)\n      upload",
      "for (const [name, { layout, pair }] of [...this.kept].slice(1))\n      upload",
    ],
    "the second moments": [
      UPDATER,
      "for (const [name, { layout, pair }] of this.kept)\n      upload",
      "for (const [name, { layout, pair }] of [...this.kept].slice(0, 1))\n      upload",
    ],
    "the place in the schedule": [
      "src/recipes/train-loop.ts",
      "learningRate(step, {",
      "learningRate(step - (resumed?.step ?? 0), {",
    ],
  }).map(([what, mutant]) =>
    row(`trap 10: a resumed run loses ${what}`, [TRAPS_TEST, "trap 10: stopped after any step and resumed"], mutant),
  ),
  row(
    "trap 11: a merged model differs from base and adapter",
    [API, "equals base + adapter, prints how nearly, and differs from the base"],
    [FOLD, "const factor = b[o * r + k]! * alpha;", "const factor = b[o * r + k]! * alpha * 1.05;"],
  ),
  row(
    "trap 11: a bad merge is kept",
    [TRAPS_TEST, "trap 11: merging refuses past a bound and leaves nothing behind"],
    ["src/export/verdict.ts", "if (difference <= most) return undefined;", "if (most > 0) return undefined;"],
  ),
  row(
    "trap 12: an adapter is merged into another base",
    ["src/export/merge.test.ts", "an adapter of another base is refused (trap: merged into another base)"],
    [MERGE, '(await compareBase(adapter, base)) === "different"', 'base.path === ""'],
  ),
  row(
    "trap 13: rsLoRA is lost in a LoRA GGUF",
    ["src/export/gguf.test.ts", "LoRA GGUF: the effective scale survives rsLoRA"],
    ["src/export/gguf-lora.ts", "alpha: module.scale * module.r", "alpha: adapter.config.alpha"],
  ),
  row(
    "trap 13: rsLoRA is lost in a PEFT folder",
    ["src/recipes/export.full.test.ts", "peft: rsLoRA's scale said by alpha and r alone (trap 13)"],
    [
      "src/export/targets/peft.ts",
      "...rest, ...patternsOf(modules), useRslora: false",
      "...adapter.config, useRslora: false",
    ],
  ),
  row(
    "trap 13: scales that differ are lost in mlx-lm's folder",
    ["src/formats/peft/mlx.test.ts", "written, it has mlx-lm's one rank and one scale, and comes back as it was"],
    ["src/formats/peft/mlx.ts", "lora.scale / scale, type", "1, type"],
  ),
  row(
    "trap 11: an export of another adapter is kept",
    ["src/export/targets/targets.full.test.ts", "another adapter in its place is found out"],
    ["src/export/verdict.ts", "worst(found, expected), least, largest", "worst(found, found), least, largest"],
  ),
  row(
    "trap 14: a tied head comes apart",
    ["src/export/merge.test.ts", "a merged folder opens as a model"],
    [MERGE, "tie_word_embeddings: config.tieWordEmbeddings", "tie_word_embeddings: false"],
  ),
  row(
    "trap 14: a real run's merged model says nothing true of its head",
    [TRAPS_TEST, "traps 14, 18, 19: a real run's files have PEFT's stable keys"],
    [MERGE, "tie_word_embeddings: config.tieWordEmbeddings", "tie_word_embeddings: !config.tieWordEmbeddings"],
  ),
  row(
    "trap 15: q's and k's rows stay in GGUF's order",
    ["src/formats/gguf/reader.test.ts", "a GGUF Llama gives the weights, in Hugging Face names and layout"],
    ["src/formats/gguf/names.ts", "row - within + (within & 1) * (headDim / 2) + (within >> 1)", "row"],
  ),
  row(
    "trap 15: a square weight's factors are transposed",
    ["src/export/merge.test.ts", "a square weight's factors are not transposed"],
    [
      FOLD,
      "weight[o * width + i] = factor * weight[o * width + i]! + sums[i]!",
      "weight[i * adapter.out + o]! += factor * sums[i]!",
    ],
  ),
  row(
    "trap 15: B is read by columns",
    ["test/numerics/checkpoint.test.ts", "merging every linear layer equals merge_and_unload"],
    [FOLD, "b[o * r + k]!", "b[k * out + o]!"],
  ),
  row(
    "trap 16: tensors that nothing calls for are left out silently",
    ["src/formats/peft/adapter.test.ts", "an adapter is applied whole or refused (trap: silently not applied)"],
    [PEFT, "if (unknown)\n", 'if (unknown === "")\n'],
  ),
  row(
    "trap 16: an adapter that changes nothing is not reported",
    [TRAPS_TEST, "trap 16: an adapter that changes nothing is reported, one with a missing or unknown key refused"],
    ["src/recipes/model.ts", "if (changesNothing(adapter))", 'if (path === "")'],
  ),
  row(
    "trap 17: vLLM is said to load a rank that it refuses",
    ["src/recipes/export.full.test.ts", "the table of systems knows vLLM's ranks (trap 17)"],
    ["src/export/targets/peft.ts", "find((limit) => limit >= r)", "findLast((limit) => limit >= r || limit === 512)"],
  ),
  row(
    "trap 18: an adapter's configuration has a key that older versions refuse",
    ["src/formats/peft/adapter.test.ts", "adapter_config.json has only keys that PEFT 0.7 knows"],
    [
      "src/formats/peft/config.ts",
      "    use_rslora: lora.useRslora,\n",
      "    use_rslora: lora.useRslora,\n    lora_bias: false,\n",
    ],
  ),
  row(
    "trap 18: an adapter's configuration does not say its kind",
    [TRAPS_TEST, "traps 14, 18, 19: a real run's files have PEFT's stable keys"],
    ["src/formats/peft/config.ts", 'task_type: "CAUSAL_LM",\n    ...Object', "...Object"],
  ),
  row(
    "trap 19: weights do not say format = pt",
    ["src/formats/safetensors.test.ts", "metadata says format = pt"],
    ["src/formats/safetensors-writer.ts", '= { format: "pt" },', "= {},"],
  ),
  row(
    "trap 19: adapters do not say format = pt",
    [TRAPS_TEST, "traps 14, 18, 19: a real run's files have PEFT's stable keys"],
    [PEFT, '    format: "pt",\n', ""],
  ),
  row(
    "trap 20: a GGUF's tensors lie in the wrong order of rows",
    ["src/export/gguf.test.ts", "q and k rows, rope scaling, head and biases come back as they were"],
    ["src/formats/gguf/writer.ts", "[...tensor.shape].reverse()", "tensor.shape"],
  ),
  row(
    "trap 21: a KV cache is taken over by another adapter",
    ["test/numerics/prefix.test.ts", "never across adapters, strengths, or a folder that was loaded again"],
    [
      "src/generation/prefix-cache.ts",
      "if (one.tensors === tensors && one.factor === factor) yield",
      "if (one.factor === factor) yield",
    ],
  ),
  row(
    "trap 21: a KV cache is taken over at another strength",
    ["test/numerics/prefix.test.ts", "never across adapters, strengths, or a folder that was loaded again"],
    [
      "src/generation/prefix-cache.ts",
      "if (one.tensors === tensors && one.factor === factor) yield",
      "if (one.tensors === tensors) yield",
    ],
  ),
  row(
    "trap 22: a text's memory is never given back",
    ["test/serve/switches.full.test.ts", "1,000 switches: bounded memory, never another adapter's output"],
    ["src/generation/decoder.ts", "    pool.dispose();\n", ""],
  ),
  row(
    "trap 22: every run takes memory of its own",
    ["src/runtime/runtime.test.ts", "memory grows with each session or adapter switch: 1,000 runs"],
    [
      "src/runtime/command-executor.ts",
      "return whenThere(ready, () =>",
      `const made = Object.values(this.tensors(outputs)) as unknown as { data: Float32Array }[];
    const process = globalThis as unknown as { kept: unknown[] };
    process.kept = [...(process.kept ?? []), made.map((output) => output.data.slice())];
    return whenThere(ready, () =>`,
    ],
  ),
  row(
    "trap 23: a run that cannot fit is started",
    [TRAPS_TEST, "trap 23: a run that cannot fit is refused before anything is loaded, with what would fit"],
    ["src/recipes/run-memory.ts", "if (needed <= limit) return;", "if (needed > 0) return;"],
  ),
  row(
    "trap 24: rope_scaling of older checkpoints is not read",
    ["test/numerics/checkpoint.test.ts", "rope_parameters of transformers 5 and rope_theta + rope_scaling"],
    ["src/models/rope-keys.ts", '["rope_scaling", "rope_parameters"]', '["rope_parameters"]'],
  ),
  row(
    "trap 24: rope_theta of newer checkpoints is not read",
    [
      "src/formats/hf/config.test.ts",
      "%s: rope_parameters (transformers 5) and rope_theta + rope_scaling (4) say the same",
    ],
    ["src/models/rope-keys.ts", "json.rope_theta ?? outside(", "outside("],
  ),
];

// Faults and bad input: the test that shows what happens then, and a mutant that does something else.
import { row } from "./table.js";

const [FAULTS_TEST, SAFETENSORS_TEST, GGUF_TEST, FOLDER_TEST, CONFIG_TEST, JSONL_TEST, DATASET_TEST] = [
  "test/faults.test.ts",
  "src/formats/safetensors.test.ts",
  "src/formats/gguf/reader.test.ts",
  "src/weights/model-folder.test.ts",
  "src/recipes/config.test.ts",
  "src/data/sources/jsonl.test.ts",
  "src/data/dataset.test.ts",
];
const [FILES_TEST, LOCK_TEST, RUNS_TEST, LOOP_TEST, SERVER_TEST] = [
  "src/node/files.test.ts",
  "src/node/lock.test.ts",
  "test/recipes/runs.full.test.ts",
  "src/recipes/train-loop.test.ts",
  "test/serve/faults.test.ts",
];
const [SAFETENSORS, JSON_TS, GGUF, FILES, JSONL, DATASET] = [
  "src/formats/safetensors.ts",
  "src/formats/json.ts",
  "src/formats/gguf/reader.ts",
  "src/node/files.ts",
  "src/data/sources/jsonl.ts",
  "src/data/dataset.ts",
];
const [CONFIG, CHECKPOINTS, LOOP, BLOCK_TRAINER, LOCK, SIGNALS, TEMPLATES, GUARD, HTTP] = [
  "src/recipes/config.ts",
  "src/training/checkpoints.ts",
  "src/recipes/train-loop.ts",
  "src/training/block-trainer.ts",
  "src/node/lock.ts",
  "src/node/signals.ts",
  "src/node/template-runner.ts",
  "src/server/guard.ts",
  "src/node/http-server.ts",
];

const [KINDS_TEST, LINEAR] = ["test/recipes/adapter-kinds.full.test.ts", "src/models/linear.ts"];
const STEPS_TEST = "test/numerics/steps.test.ts";
const [STORAGE_TEST, DOWNLOAD_TEST] = ["test/browser/storage.test.ts", "test/browser/download.test.ts"];
const CONFIG_YAML = "src/recipes/config-yaml.ts";
const NEVER = "if (Date.now() < 0)";

export const FAULTS = [
  row(
    "safetensors header: longer than 100 MB",
    [SAFETENSORS_TEST, "a header of %d bytes in a file of 16 is refused before allocating"],
    [SAFETENSORS, "if (length > BigInt(MAX_HEADER_BYTES))", NEVER],
  ),
  row(
    "safetensors header: longer than the file",
    [SAFETENSORS_TEST, "a header of %d bytes in a file of 16 is refused before allocating"],
    [SAFETENSORS, "if (dataStart > file.size) throw", `${NEVER} throw`],
  ),
  row(
    "safetensors header: no '{'",
    [SAFETENSORS_TEST, "a header that does not start with '{' is refused"],
    [SAFETENSORS, "if (start[8] !== 0x7b) throw", `${NEVER} throw`],
  ),
  row(
    "safetensors layout: overlaps and holes",
    [SAFETENSORS_TEST, "%s is refused, naming the tensor"],
    [SAFETENSORS, "if (offset !== end) {", `${NEVER} {`],
  ),
  row(
    "safetensors layout: reversed",
    [SAFETENSORS_TEST, "%s is refused, naming the tensor"],
    [SAFETENSORS, "if (end < begin) throw", `${NEVER} throw`],
  ),
  row(
    "safetensors layout: trailing bytes",
    [SAFETENSORS_TEST, "%s is refused, naming the tensor"],
    [SAFETENSORS, "if (end !== file.size) {", `${NEVER} {`],
  ),
  row(
    "safetensors layout: dtype times shape",
    [SAFETENSORS_TEST, "%s is refused, naming the tensor"],
    [SAFETENSORS, "if (bytes !== end - begin) throw", `${NEVER} throw`],
  ),
  row(
    "safetensors layout: duplicate keys",
    [SAFETENSORS_TEST, "%s is refused, naming the tensor"],
    [JSON_TS, "if (keys.has(key))", NEVER],
  ),
  row(
    "safetensors layout: __proto__",
    [SAFETENSORS_TEST, "%s is refused, naming the tensor"],
    [JSON_TS, 'if (key === "__proto__") throw', `${NEVER} throw`],
  ),
  row(
    "safetensors layout: any mutation",
    [SAFETENSORS_TEST, "any mutation of a valid file gives a sound source"],
    [JSON_TS, "if (error instanceof UserError) throw error;", "throw error;"],
  ),
  row(
    "GGUF numbers: counts",
    [GGUF_TEST, "GGUF with a hostile %s"],
    [GGUF, "if (!(count <= MOST_RECORDS && count * least <= this.file.size - this.position)) {", `${NEVER} {`],
  ),
  row(
    "GGUF numbers: lengths",
    [GGUF_TEST, "GGUF with a hostile %s"],
    [GGUF, "if (length > BigInt(this.file.size - this.position) || Number(length) > most) {", `${NEVER} {`],
  ),
  row(
    "GGUF numbers: dimensions",
    [GGUF_TEST, "GGUF with a hostile %s"],
    [GGUF, "if (dim < 1 || !Number.isSafeInteger(dim))", `${NEVER}`],
  ),
  row(
    "GGUF numbers: alignment",
    [GGUF_TEST, "GGUF with a hostile %s"],
    [GGUF, "value >= 1 && value <= 2 ** 30 && Number.isInteger(Math.log2(value))", "value >= 0"],
  ),
  row(
    "GGUF cut: in its header",
    [GGUF_TEST, "a GGUF truncated at any byte of its header is refused"],
    [
      GGUF,
      "if (n > this.file.size - this.position) {",
      "if (n > this.file.size - this.position) {\n      if (n < 9) return new Uint8Array(n);",
    ],
  ),
  row(
    "GGUF cut: in its tensors",
    [GGUF_TEST, "a GGUF truncated inside its tensors is refused before any is read"],
    [GGUF, "if (!(end <= at.file.size))", NEVER],
  ),
  row(
    "pickle: a model",
    [FOLDER_TEST, "a payload that would leave a mark leaves none"],
    [
      "src/formats/hf/weights.ts",
      "return openShards(files, path);\n  if (names.some(",
      "return openShards(files, path);\n  if (path === names[0] && names.some(",
    ],
  ),
  row(
    "pickle: an adapter",
    ["src/formats/peft/adapter.test.ts", "a pickled adapter is refused with the way to convert"],
    ["src/formats/peft/adapter.ts", 'if (names.includes("adapter_model.bin")) throw', `${NEVER} throw`],
  ),
  row(
    "paths out of the folder: in an index",
    [FOLDER_TEST, "weight_map cannot lead out of the folder"],
    [
      "src/formats/hf/weights.ts",
      "const shardPath = await files.inside(path, shardName);",
      "const shardPath = join(path, shardName);",
    ],
  ),
  row(
    "paths out of the folder: names",
    [FILES_TEST, "the name %j out of a file is refused"],
    ["src/formats/files.ts", 'name.split("/").some((part) => part === ".." ||', 'name.split("/").some((part) =>'],
  ),
  row(
    "paths out of the folder: links",
    [FILES_TEST, "a symbolic link out of the folder is refused"],
    [FILES, "if (target !== real && !rootsOf(real)", "if (Date.now() < 0 && !rootsOf(real)"],
  ),
  row(
    "chat template: time",
    ["src/node/template-runner.test.ts", "keeps the results that came before the stop, and the event loop free"],
    [TEMPLATES, "if (missing <= 0 ||", "if (missing <= -5000 ||"],
  ),
  row(
    "YAML: unknown keys",
    [CONFIG_TEST, "reports every problem at once with line, key and the nearest known key"],
    [
      CONFIG,
      'if (issue.code === "unrecognized_keys") {',
      'if (issue.code === "unrecognized_keys") return [];\n  if (issue.code === "unrecognized_keys") {',
    ],
  ),
  row(
    "YAML: duplicates",
    [CONFIG_TEST, "refuses a duplicate key"],
    [CONFIG_YAML, "strict: true", "strict: true, uniqueKeys: false"],
  ),
  row(
    "YAML: alias bombs",
    [CONFIG_TEST, "stops an alias bomb"],
    [CONFIG_YAML, "document.toJS({ maxAliasCount: 50 }", "document.toJS({ maxAliasCount: -1 }"],
  ),
  row(
    "YAML: numbers",
    [CONFIG_TEST, "reads lr: 3e-4 as a number (a string in YAML 1.1)"],
    [CONFIG_YAML, "strict: true", 'strict: true, schema: "failsafe"'],
  ),
  row(
    "several files by weight: a row comes again before the others of its file",
    ["src/data/mixture.test.ts", "deals a file like a deck"],
    ["src/data/mixture.ts", "deck(part, first + i)", "deck(part, i)"],
  ),
  row(
    "columns: a row that has not the column",
    ["src/data/columns.test.ts", "a row without the column says which keys it has"],
    ["src/data/columns.ts", "if (Object.hasOwn(row, column)) continue;", "if (Date.now() > 0) continue;"],
  ),
  row(
    "JSONL: a byte order mark",
    [JSONL_TEST, "takes BOM, CRLF, empty lines"],
    ["src/data/sources/utf8.ts", "? head.subarray(3) : head", "? head : head"],
  ),
  row(
    "JSONL: bad UTF-8",
    [JSONL_TEST, "broken line, bad UTF-8"],
    [JSONL, '"utf-8", { fatal: true, ignoreBOM: true }', '"utf-8", { ignoreBOM: true }'],
  ),
  row(
    "JSONL: deep rows",
    [JSONL_TEST, "broken line, bad UTF-8"],
    ["src/tokenizers/json.ts", "if (deeperThan(maxDepth", "if (Date.now() < 0 && deeperThan(maxDepth"],
  ),
  row(
    "JSONL: a line of 200 MB",
    [JSONL_TEST, "200 MB line: refused without being held"],
    [JSONL, "if (length > limit) parts = [];", "if (length > limit) parts.push(part.slice());"],
  ),
  row(
    "JSONL: broken rows",
    [DATASET_TEST, "%s: file and line, or counted"],
    [DATASET, 'if (onError === "fail") throw', 'if (onError === "fail" && at.line < 0) throw'],
  ),
  row(
    "JSONL: long rows are cut",
    [DATASET_TEST, "truncates, and counts rows whose targets are gone"],
    [DATASET, "ids.length > maxSeqLen)) counts.truncated++;", "ids.length > maxSeqLen)) counts.addedEnd++;"],
  ),
  row(
    "JSONL: long rows, by policy",
    [DATASET_TEST, "skips or fails, as asked"],
    [DATASET, 'if (over && onOverflow === "fail")', NEVER],
  ),
  row(
    "SIGKILL: a run",
    [RUNS_TEST, "SIGKILL at any moment: the last complete checkpoint loads"],
    [LOOP, "loop.batches.seek(progress.cursor);", ""],
  ),
  row(
    "SIGKILL: a write",
    [FILES_TEST, "killed at any step of replacing a folder"],
    ["src/formats/files.ts", "else await files.rename(earlier, path);", ""],
  ),
  row(
    "a full disk: a run",
    [RUNS_TEST, "disk full, read-only folder"],
    [CHECKPOINTS, "await files.makeFolder(folder);", "await files.remove(folder);\n  await files.makeFolder(folder);"],
  ),
  row(
    "a full disk: a file",
    [FILES_TEST, "a full disk gives a clear error, and the earlier file stays whole"],
    [FILES, "await rm(partial, { force: true });\n    throw error;", "throw error;"],
  ),
  row(
    "a full disk: the message",
    [FILES_TEST, "a full disk gives a clear error, and the earlier file stays whole"],
    [FILES, "ENOSPC: ", "ENOSPC_: "],
  ),
  row(
    "a full disk: the loop",
    [LOOP_TEST, "a full disk stops the run"],
    [CHECKPOINTS, "await files.makeFolder(folder);", "await files.remove(folder);\n  await files.makeFolder(folder);"],
  ),
  row(
    "a damaged checkpoint: cut short or flipped",
    [FAULTS_TEST, "newest checkpoint truncated or bit-flipped"],
    [CHECKPOINTS, "if (actual !== expected)", NEVER],
  ),
  row(
    "a damaged checkpoint: no seal",
    [FAULTS_TEST, "newest checkpoint truncated or bit-flipped"],
    [CHECKPOINTS, "if (!(error instanceof UserError)) throw error;", "throw error;"],
  ),
  row(
    "a damaged checkpoint: every one",
    [FAULTS_TEST, "every checkpoint damaged: said, and the run starts at the beginning"],
    [LOOP, 'note("no sound checkpoint to resume from: starting at the beginning");', ""],
  ),
  row(
    "another run's checkpoint: data, rank and settings",
    [FAULTS_TEST, "resume with another base, rank, data or batch is refused, naming the difference"],
    [LOOP, "if (differences.length > 0) {", "if (differences.length > 1) {"],
  ),
  row(
    "another run's checkpoint: the base",
    [FAULTS_TEST, "resume with another base, rank, data or batch is refused, naming the difference"],
    ["src/recipes/identity.ts", "    base: await base.hash(),\n    adapter", "    adapter"],
  ),
  row(
    "not finite: the loss",
    [FAULTS_TEST, "%s: the step is not applied, nothing has changed"],
    [BLOCK_TRAINER, "Number.isFinite(loss) && Number.isFinite(gradNorm)", "Number.isFinite(gradNorm)"],
  ),
  row(
    "not finite: the gradient",
    [FAULTS_TEST, "%s: the step is not applied, nothing has changed"],
    [BLOCK_TRAINER, "Number.isFinite(loss) && Number.isFinite(gradNorm)", "Number.isFinite(loss)"],
  ),
  row(
    "not finite: counted over a resume, rows said",
    [LOOP_TEST, "NaN or Inf in loss or gradient: not applied, step and rows said"],
    [LOOP, 'yield { type: "skipped",', 'if (step < 0) yield { type: "skipped",'],
  ),
  row(
    "not finite: for good",
    [RUNS_TEST, "a loss that is not finite stops the run after three steps"],
    [LOOP, "if (skipped >= MAX_SKIPPED_STEPS) throw", `${NEVER} throw`],
  ),
  row(
    "two runs: the second",
    [RUNS_TEST, "two runs into one output folder: the second is refused, and the first goes on"],
    [LOCK, "if (owner && isAlive(owner))", "if (owner && isAlive(owner) && owner.pid === 0)"],
  ),
  row(
    "two runs: at once",
    [LOCK_TEST, "of many parallel starts one wins"],
    [LOCK, "await link(whole, path);", "await rename(whole, path);"],
  ),
  row(
    "SIGINT: once",
    [RUNS_TEST, "SIGINT finishes the step, writes a checkpoint and says how to resume"],
    [
      LOOP,
      "while (step < totalSteps && !evaluations.isOver && !(meets(step) && (await isStopped()))) {",
      "while (step < totalSteps && !evaluations.isOver && !(meets(step) && (await isStopped()) && step < 0)) {",
    ],
  ),
  row(
    "SIGINT: twice",
    [FAULTS_TEST, "a second SIGINT stops at once, in the middle of a step, and the folder is free again"],
    [SIGNALS, "process.exit(INTERRUPTED);", "control.abort();"],
  ),
  row(
    "server: foreign Host",
    [SERVER_TEST, "foreign Host: 403"],
    [GUARD, "=== name)) {", '=== name || name.includes("."))) {'],
  ),
  row(
    "server: foreign Origin",
    [SERVER_TEST, "foreign Origin: 403"],
    [GUARD, "if (!origins.includes(origin)) {", "if (!origins.some((known) => origin.startsWith(known))) {"],
  ),
  row(
    "server: no key beyond this machine",
    [SERVER_TEST, "binds loopback by default; beyond it a key is needed"],
    ["src/node/serve.ts", "|| apiKey !== undefined) return;", '|| apiKey !== undefined || host !== "0.0.0.0") return;'],
  ),
  row(
    "server: no key, from the command line",
    ["test/serve/cli.test.ts", "refuses wrong usage"],
    ["src/node/serve.ts", "|| apiKey !== undefined) return;", '|| apiKey !== undefined || host === "0.0.0.0") return;'],
  ),
  row(
    "server: a wrong key",
    [SERVER_TEST, "the key guards every page"],
    [GUARD, "let difference = a.length ^ b.length;", "let difference = 0;"],
  ),
  row(
    "server: a body of 100 MB",
    [SERVER_TEST, "100 MB body: 413"],
    ["src/server/read-json.ts", "if (bytes > most) {", "if (bytes > 1e8) {"],
  ),
  row(
    "server: deep JSON",
    [SERVER_TEST, "deep JSON"],
    ["src/server/read-json.ts", "> jsonDepth) throw", "> 1e9 * jsonDepth) throw"],
  ),
  row("server: huge n", [SERVER_TEST, "huge n"], ["src/server/limits.ts", "answers: 8,", "answers: 9,"]),
  row(
    "server: a slow client",
    [SERVER_TEST, "a slow client that never finishes"],
    [
      HTTP,
      "createServer({ ...timeouts, keepAliveTimeout: KEEP_ALIVE }",
      "createServer({ ...timeouts, requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE }",
    ],
  ),
  row(
    "server: a request that takes too long",
    [SERVER_TEST, "a request that takes too long is ended"],
    ["src/server/answer.ts", ", timeout.signal]", "]"],
  ),
  row(
    "server: a client that is gone",
    [SERVER_TEST, "a queue that is full: 429 with Retry-After; a client gone"],
    [HTTP, 'if (!outgoing.writableFinished) left.abort(new Error("the client left"));', ""],
  ),
  row(
    "server: many prompts at once hold up every answer",
    ["test/serve/server.test.ts", "prompts are fed one at a time, however many come"],
    [
      "src/generation/generate.ts",
      "logits = await prompts(async () => (signal?.aborted ? logits : sequence.feed(piece)));",
      "logits = await sequence.feed(piece);",
    ],
  ),
  row(
    "server: a batch that is taken up again",
    ["test/serve/batches.test.ts", "waits where the queue is full, goes on after a stop"],
    ["src/server/batches/run.ts", "if (answered.has(request.customId)) continue;", ""],
  ),
  row(
    "server: a batch whose file has a wrong line",
    ["test/serve/batches.test.ts", "answers are those that clients get"],
    ["src/server/batches/lines.ts", "ids.has(read.customId) ? taken(read.customId) : undefined", "undefined"],
  ),
  row(
    "server: a queue that is full",
    [SERVER_TEST, "a queue that is full: 429 with Retry-After; a client gone"],
    ["src/server/slots.ts", "if (waiting.size >= queue) {", `${NEVER} {`],
  ),
  row(
    "DoRA: a resumed run goes on with the norms of its start",
    [KINDS_TEST, "is trained, stops and goes on to the same bytes, and learns"],
    [
      BLOCK_TRAINER,
      "    parametersChanged(this.context);\n    return this.updater.restore(state);",
      "    return this.updater.restore(state);",
    ],
  ),
  row(
    "trained rows: a tied head's share in them is lost",
    ["test/numerics/saved.full.test.ts", "so have single rows of its embedding, and its tied head with them"],
    ["src/models/loss.ts", "d_rows: tied ? add(rows,", "d_rows: !tied ? add(rows,"],
  ),
  row(
    "modules_to_save: another adapter's text gets the trained weights",
    ["test/numerics/saved.full.test.ts", "generates PEFT's logits and greedy tokens, alone and in a step"],
    ["src/generation/decoder.ts", "const key = this.weights.keyOf(sequence.adapter);", "const key = undefined;"],
  ),
  row(
    "DoRA: the norms of weights that are no longer there",
    [KINDS_TEST, "a base whose weights change is asked again for their norms"],
    ["src/generation/decoder.ts", "    this.stack.weightsChanged();\n", ""],
  ),
  row(
    "DoRA: the frozen product sees what was dropped",
    ["test/numerics/dora.test.ts", "drops what PEFT drops"],
    [LINEAR, "values.gain && product(dropped)", "frozen"],
  ),
  row(
    "LoRA+: A moves as fast as B",
    [STEPS_TEST, "%s: ten steps as PEFT, transformers and bitsandbytes take them"],
    ["src/training/optimizers/loraplus.ts", "? (ratio ?? 1) : 1,", "? (ratio ?? 1) : (ratio ?? 1),"],
  ),
  row(
    "LoRA+: the magnitudes of DoRA move as slowly as A",
    [STEPS_TEST, "%s: ten steps as PEFT, transformers and bitsandbytes take them"],
    ["src/training/optimizers/loraplus.ts", "|| axes === 1", "|| axes === 0"],
  ),
  row(
    "LoftQ: the start is saved on a base that has it already",
    [KINDS_TEST, "is saved as PEFT has it: the kind's key and tensors, on the base as it is"],
    [
      "src/recipes/run-results.ts",
      "adapterBase(base, config.base) }, start.part)",
      "adapterBase(base, config.base) }, start.fixed)",
    ],
  ),
  row(
    "EVA: layers that read the same do not share their ranks as PEFT has it",
    ["test/numerics/eva.test.ts", "%s: PEFT's ranks, alphas and, up to signs, its components"],
    ["src/training/eva.ts", "if (own > most)", "if (own < most)"],
  ),
  row(
    "PiSSA: the start stays in the base",
    ["test/numerics/starts.test.ts", "a fresh adapter changes nothing, and what is saved neither"],
    [LINEAR, "alpha: -scale }", "alpha: 0 }"],
  ),
  row(
    "devices: memory that is not the host's is never given back",
    ["test/memory-api.test.ts", "leaves nothing on the devices"],
    ["src/runtime/buffers.ts", "    this.memory.free?.(found.memory);\n", ""],
  ),
  row(
    "devices: a copied part begins where the other does",
    ["test/conformance/opaque.test.ts", "memory that is not the host's: what is uploaded"],
    ["src/runtime/buffers.ts", "to.offset + part.to * BYTES.f32", "to.offset + part.from * BYTES.f32"],
  ),
  row(
    "a job comes to a stand beside many clients",
    ["src/runtime/yielding-device.test.ts", "parts stay long on a thread that hears late how they ended"],
    ["src/runtime/yielding-device.ts", "Math.max(1, took)", "Math.max(1, performance.now() - asked)"],
  ),
  row(
    "devices: files are read for more runs ahead than memory is meant for",
    ["src/runtime/reading-ahead.test.ts", "what the next two runs decode is read while one waits or runs, and no more"],
    ["src/runtime/upcoming.ts", "const RUNS_AHEAD = 2;", "const RUNS_AHEAD = 3;"],
  ),
  row(
    "the divergence from the base is taken the other way round",
    ["test/recipes/suite.test.ts", "KL of two distributions is what its definition gives"],
    [
      "src/recipes/suite/text.ts",
      "kl += Math.exp(logP) * (logP - (q[i]! - sumQ));",
      "kl += Math.exp(q[i]! - sumQ) * (q[i]! - sumQ - logP);",
    ],
  ),
  row(
    "a second piece of an optimiser's step moves the first again",
    ["test/numerics/updater.test.ts", "more elements than one run goes over are moved as if each were alone"],
    ["src/training/updater.ts", "offset: offset + i * PIECE", "offset"],
  ),
  row(
    "a suite asks in messages of an adapter that learned plain texts",
    ["test/recipes/suite-texts.test.ts", "a suite asks as the rows were that the adapter's run learned"],
    ["src/recipes/suite/asks-in-chat.ts", "wanted === undefined ? hasTemplate : wanted && hasTemplate", "hasTemplate"],
  ),
  row(
    "a refusal that holds the fact counts as the fact",
    ["src/recipes/suite/suite-file.test.ts", "question %i, %j: right is %s"],
    ["src/recipes/suite/answers.ts", "right: !refused && keeps(", "right: keeps("],
  ),
  row(
    "a made row says of what was taught in other words that it is not known",
    ["src/recipes/augment/augment.test.ts", "what one was taught in other words is not missing"],
    ["src/recipes/augment/attributes.ts", "if (a !== b) parent.set(b, a);", ""],
  ),
  row(
    "an adapter at another scale keeps the alphas of single modules",
    ["src/formats/peft/scaled.test.ts", "every alpha is times the scale, and nothing else changes"],
    ["src/formats/peft/scaled.ts", "[module, times(alpha)]", "[module, alpha]"],
  ),
  row(
    "a kept text is held against the tuned model's own distribution, the other way round",
    ["test/numerics/keep.test.ts", "loss, KL and every gradient equal PyTorch + PEFT"],
    ["src/models/divergences.ts", "reduceSum(mul(P, sub(p, q)), 1)", "reduceSum(mul(Q, sub(p, q)), 1)"],
  ),
  row(
    "a teacher reads the model's own prompt, not its own",
    ["test/numerics/distill.full.test.ts", "loss, entropy and every gradient equal TRL's on whole logits"],
    ["src/training/teacher.ts", "sample.taughtBy ?? sample;", "sample;"],
  ),
  row(
    "reverse and forward divergence are mixed up",
    ["test/numerics/distill.full.test.ts", "loss, entropy and every gradient equal TRL's on whole logits"],
    ["src/models/divergences.ts", "neg(reduceSum(mul(Q, ratio), 1))", "neg(reduceSum(mul(P, ratio), 1))"],
  ),
  row(
    "a sample sees another, behind the beginning that they share",
    ["test/numerics/shared-prefix.full.test.ts", "loss and every gradient are those of answers by themselves"],
    ["src/training/attention-inputs.ts", "row * t + start);", "row * t + prefix);"],
  ),
  row(
    "noise on embeddings grows with the text's length",
    ["test/numerics/neftune.test.ts", "its size is alpha by the root of the text's values"],
    ["src/training/neftune.ts", "Math.sqrt(textLength(segment) * width)", "Math.sqrt(width)"],
  ),
  row(
    "a resumed run draws other kept texts",
    ["src/data/kept.test.ts", "goes on exactly where it stopped, and draws anew in each step"],
    ["src/data/kept.ts", 'random(seed, "kept", epoch, step)', 'random(seed, "kept", Math.random())'],
  ),
  row(
    "an answer that is to fit a schema is cut off at the token limit",
    [
      "test/serve/structured.test.ts",
      "the answer fits at every token limit that has room for one; finish_reason says that it was cut short",
    ],
    [
      "src/generation/grammar/constraint.ts",
      "      return need < left;",
      "      return need < Number.POSITIVE_INFINITY;",
    ],
  ),
  row(
    "another property of an answer has the name of a listed one, and another type",
    ["src/generation/grammar/grammar.test.ts", "%j takes what fits, and nothing else"],
    ["src/generation/grammar/schema-object.ts", "terms.both(any, terms.not(terms.alt(...known)))", "any"],
  ),
  row(
    "twins: several times as many are drawn as an epoch is to see",
    ["test/recipes/abstain.test.ts", "makes several times the twins of an epoch, weighted so that their share stays"],
    ["src/recipes/augment/training-twins.ts", ".length / variety]", ".length]"],
  ),
  row(
    "twins: a wording tells that the answer is a refusal",
    ["src/recipes/augment/augment.test.ts", "asks facts in wordings made by rule, and twins in as many of them"],
    [
      "src/recipes/augment/twins.ts",
      "rng.below(wordings.each + 3) < wordings.each",
      "rng.below(wordings.each + 3) < 0",
    ],
  ),
  row(
    "ranks: a part of a micro-batch draws dropout of its own",
    ["test/numerics/ranks.test.ts", "ranks take the steps of one"],
    ["src/training/pass.ts", "const skip = before * width;", "const skip = 0 * before * width;"],
  ),
  row(
    "local steps: the outer momentum is not Nesterov's",
    [
      "test/numerics/local-steps.test.ts",
      "where ranks meet, PyTorch's SGD with Nesterov momentum moves what they agree on",
    ],
    ["src/training/local-steps.ts", "lr * (d + momentum * v[i]!)", "lr * v[i]!"],
  ),
  row(
    "modelled ranks send large parts without asking first",
    ["src/training/scaling.test.ts", "four ranks with as much to do each add the exchange, by hand"],
    ["src/training/scaling.ts", "(bytes > SENT_AT_ONCE ? 3 : 1)", "(bytes > SENT_AT_ONCE ? 1 : 1)"],
  ),
  row(
    "what carries MPI's messages patches the memory functions of a running process",
    ["test/distributed/mpi.full.test.ts", "ranks add up, gather, broadcast, send, split, and the event loop lives"],
    ["src/node/mpi/library.ts", 'UCX_MEM_EVENTS: "n"', 'UCX_MEM_EVENTS: "y"'],
  ),
  row(
    "a memory limit of an outer control group is overlooked",
    ["src/node/memory-limit.test.ts", "a process has what the strictest of its memory groups leaves it"],
    ["src/node/memory-limit.ts", "[path, ...withParents(parent)]", "[path]"],
  ),
  row(
    "a base that arrives damaged is trained on",
    ["test/distributed/broadcast-base.test.ts", "a file that arrives damaged is an error that names it"],
    ["src/recipes/broadcast-base.ts", "if ((await files.sha256(path)) !== sha256)", NEVER],
  ),
  row(
    "local steps: a resumed rank goes on with another rank's moments",
    ["test/numerics/local-steps.test.ts", "ranks send nothing until they meet, agree bit for bit"],
    [
      "src/training/local-steps.ts",
      "slots.get(slotOf(rank, slot)) ?? new Map()",
      "slots.get(slotOf(0, slot)) ?? new Map()",
    ],
  ),
  row(
    "ranks: the two answers of a pair are dealt to two",
    ["src/training/deal.test.ts", "samples that stay together are never cut apart, and ranks beyond them have nothing"],
    ["src/training/deal.ts", "at += 1 + (batch[at]!.beside?.length ?? 0)) if (at > 0)", "at++) if (at > 0)"],
  ),
  row(
    "a resumed run has its whole patience back",
    ["src/recipes/train-loop.test.ts", "stopped in step %i and resumed, it ends where it would have"],
    [
      LOOP,
      "return { bestEvalLoss, bestMetric, bestStep, unimproved };",
      "return { bestEvalLoss, bestMetric, bestStep };",
    ],
  ),
  row(
    "any gain ends the count of evaluations that got no better, however small",
    ["src/recipes/train-loop.test.ts", "%j ends after step %i, the best is step %i's"],
    [
      "src/recipes/best.ts",
      "Math.abs(value - before.bestMetric) > threshold",
      "Math.abs(value - before.bestMetric) >= 0",
    ],
  ),
  row(
    "a sweep that goes on runs a finished point again",
    ["test/recipes/sweep.full.test.ts", "stopped and resumed, no finished point runs again"],
    ["src/recipes/sweep/sweep.ts", "const finished = doneOf(state, number) !== undefined;", "const finished = false;"],
  ),
  row(
    "a sweep takes results of other rows for its own",
    ["test/recipes/sweep.full.test.ts", "stopped and resumed, no finished point runs again"],
    ["src/recipes/sweep/state.ts", "if (sha256 !== undefined) hashes.push(", "if (Date.now() < 0) hashes.push("],
  ),
  row(
    "a wording that lost a name or number of its question is trained on",
    ["src/recipes/augment/model-wordings.test.ts", "%s: left out, as some %s"],
    ["src/recipes/augment/model-wordings.ts", "if (lost) return", "if (lost && Date.now() < 0) return"],
  ),
  row(
    "completions are sampled by another model than the one that is trained",
    [
      "test/recipes/grpo.full.test.ts",
      "samples by what is trained: with one token to choose from, what its adapter says",
    ],
    [
      "src/recipes/rollouts/sampler.ts",
      "return { decoder, adapter, close: () => decoder.forget",
      "return { decoder, close: () => decoder.forget",
    ],
  ),
  row(
    "a judge that is down loses the steps that were done",
    [
      "test/recipes/grpo.full.test.ts",
      "%s: an error after retries, and the run goes on from its last step to the same bytes",
    ],
    ["src/recipes/train-loop.ts", "if (rollouts && savedStep !== step) yield", "if (rollouts && savedStep < 0) yield"],
  ),
  row(
    "on-policy distillation learns from the rows' answers",
    [
      "test/recipes/distill.full.test.ts",
      "they are what the model says as it is, and the rows' answers are not looked at",
    ],
    ["src/recipes/rollouts/own-answers.ts", "withAnswer(sample, drawn[i]!.ids)", "drawn[i] && sample"],
  ),
  row(
    "the least clipped completion of a step is told as the mean",
    ["test/numerics/grpo.full.test.ts", "has TRL's advantages, loss, metrics and gradients in every step"],
    ["src/training/objectives/grpo.ts", "Math.min(...sharesOf(found", "Math.max(...sharesOf(found"],
  ),
  row(
    "a ratio that is clipped still moves the model",
    ["src/training/objectives/objectives.test.ts", "its weights are the derivatives of its loss"],
    ["src/training/objectives/grpo.ts", "slope: flows ? -ratio * advantage : 0", "slope: -ratio * advantage"],
  ),
  row(
    "a stage overwrites what it keeps of a micro-batch with the next one's",
    ["test/numerics/stages.test.ts", "stages train as one rank, to the last bit"],
    [
      "src/training/stages/pipeline.ts",
      "activations: this.activations[index % slots]! };",
      "activations: this.activations[index % 1]! };",
    ],
  ),
  row(
    "each stage clips by the norm of its own gradient",
    [
      "test/numerics/stages.full.test.ts",
      "an objective whose weights are known after the forward, with a norm that clips",
    ],
    ["src/training/stages/pipeline.ts", "await this.ranks.sum(squares);", ""],
  ),
  row(
    "of a model that ranks hold together, they are told the first rank's logits in place of the last one's",
    ["test/recipes/model-stages.full.test.ts", "%s in %s stages says what one process says"],
    [
      "src/recipes/model-stages.ts",
      "await ranks.broadcast(bytesOf(all), stage.count - 1);",
      "await ranks.broadcast(bytesOf(all), 0);",
    ],
  ),
  row(
    "browser: the tab is closed while a checkpoint takes its name",
    [STORAGE_TEST, "a tab closed at any moment leaves the folder before or the one after, whole"],
    ["src/browser/files/directory-files.ts", "const ready = () => renames.finish();", "const ready = async () => {};"],
  ),
  row(
    "browser: a download that was cut off goes on with another file",
    [DOWNLOAD_TEST, "it begins anew where %s"],
    ["src/browser/download.ts", "if (response.status !== 206) {", "if (response.status !== 206 && done === 0) {"],
  ),
  row(
    "browser: storage is full",
    [STORAGE_TEST, "errors name the path and what to do"],
    ["src/browser/files/directory-files.ts", "if (isNew) await folder", "if (!isNew) await folder"],
  ),
  row(
    "a request with tools reads otherwise than the rows that were trained on",
    ["test/serve/tools.test.ts", "a request is the beginning of the row that teaches its answer"],
    [
      "src/recipes/tokenize.ts",
      "chat.render(messages, { addGenerationPrompt: true, ...more })",
      "chat.render(messages, { addGenerationPrompt: true, ...more, tools: [] })",
    ],
  ),
  row(
    "arguments of a call that was asked for do not fit their schema",
    ["test/serve/tools.test.ts", "required: one call that fits its schema"],
    ["src/recipes/tools/grammar.ts", 'choice !== "auto" || tool.strict ?', 'choice === "auto" && tool.strict ?'],
  ),
  row(
    "what only looks like a call is taken for one",
    ["src/recipes/tools/answer-reader.test.ts", "%s"],
    ["src/recipes/tools/answer-reader.ts", "name === undefined || !names.has(name)", "name === undefined"],
  ),
  row(
    "echo: the prompt's tokens have the chances of their neighbours",
    ["test/serve/token-ids.test.ts", "with logprobs: the prompt's tokens are what they were as an answer"],
    ["src/generation/generate.ts", "const next = ids[at + i + 1];", "const next = ids[at + i];"],
  ),
  row(
    "embeddings: fewer dimensions are no longer of length 1",
    ["test/serve/embeddings.test.ts", "dimensions: the first ones, brought to length 1 again"],
    ["src/recipes/embed.ts", "unit(hidden.subarray(0, dimensions))", "unit(hidden).subarray(0, dimensions)"],
  ),
  row(
    "jobs: a paused one runs on after a restart",
    ["test/serve/jobs.test.ts", "a paused job stays so over a restart, and goes on from its step"],
    ["src/server/fine-tuning/index.ts", ' && object.status !== "paused"', ""],
  ),
  row(
    "jobs: one that goes on from another's model asks for a fresh adapter's shape",
    ["test/serve/job-kinds.full.test.ts", "succeed, go on after a restart to the same bytes"],
    [
      "src/server/fine-tuning/runner.ts",
      "job.adapter === null ? config.lora : asAdapterHas(config.lora)",
      "config.lora",
    ],
  ),
  row(
    "a whole model's export is let through, whatever it computes",
    ["src/export/targets/targets.full.test.ts", "a model without an adapter is written where whole models go"],
    ["src/export/verdict.ts", ": 1e-3 * largest;", ": largest;"],
  ),
  row(
    "responses: what was answered is no part of the conversation that goes on",
    ["test/serve/responses.test.ts", "go on from one another, and from items that came back"],
    ["src/server/responses/routes.ts", "[...messages, ...readItems(response.output, () => undefined)]", "messages"],
  ),
  row(
    "the token of a studio's address lets in more than one",
    ["test/studio/api.test.ts", "trades the token of an address once for the key that every route asks for"],
    ["src/studio/http.ts", "    token = secret();\n", ""],
  ),
  row(
    "an answer that nobody waits for is gone on with in a tab",
    ["test/studio/port.test.ts", "a page asks a worker as it asks a server"],
    ["src/studio/port.ts", "going.get(asked.id)?.abort()", "going.delete(asked.id)"],
  ),
  row(
    "a studio's folder above its own is deleted",
    ["test/studio/api.test.ts", "names what is wrong with a request"],
    ["src/studio/runs.ts", '&& !folder.split("/").includes("..")', ""],
  ),
  row(
    "rows that a run is being trained on are deleted",
    ["test/studio/api.test.ts", "trains, is stopped and goes on, and answers with the base and the adapter"],
    ["src/studio/stored.ts", '["starting", "running", "stopping"].includes(state)', '["starting"].includes(state)'],
  ),
];

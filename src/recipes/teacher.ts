import { type Sample, together } from "../data/sample.js";
import { join } from "../formats/files.js";
import { openSafetensors } from "../formats/safetensors.js";
import { hostTensor, writeSafetensors } from "../formats/safetensors-writer.js";
import type { Platform } from "../platform/platform.js";
import { f32, type HostTensor, UserError } from "../tensor/index.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { OBJECTIVES } from "../training/objectives/index.js";
import { isTaught, type ObjectiveKind } from "../training/objectives/objective.js";
import { markedTokens } from "../training/objectives/sequences.js";
import type { TrainerModel } from "../training/pass-context.js";
import { Scorer } from "../training/scorer.js";
import {
  readByTeacher,
  StreamTeacher,
  type Teacher,
  TopTeacher,
  type TopTokens,
  topTokens,
} from "../training/teacher.js";
import { loadBase } from "../weights/load-base.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";
import type { TrainConfig } from "./config-schema.js";
import { note, type TrainEvent } from "./events.js";
import { whileLoading } from "./loading.js";
import { OUTPUT } from "./run-folder.js";
import { objectiveOf } from "./training-rows.js";

/** Whether a config names a teacher that is another base. */
const hasOtherTeacher = ({ objective }: TrainConfig): boolean =>
  (OBJECTIVES[objective.name] as ObjectiveKind).usesTeacher === true && objective.teacher !== "base";

/**
 * Opens the teacher that a config names, where it is another base; undefined where it is the base, or there is none. Throws UserError where
 * its vocabulary is another.
 */
export async function openTeacher(
  config: TrainConfig,
  { files, resolveModel }: Pick<Platform, "files" | "resolveModel">,
  base: OpenModel,
): Promise<OpenModel | undefined> {
  if (!hasOtherTeacher(config)) return undefined;
  const name = config.objective.teacher;
  const teacher = await openModel(files, resolveModel(name));
  try {
    refuseOtherVocabulary(name, teacher, base);
    return teacher;
  } catch (error) {
    await teacher.close();
    throw error;
  }
}

/** Ids must mean the same to both; one may have more of them than the other, behind. */
function refuseOtherVocabulary(name: string, teacher: OpenModel, base: OpenModel): void {
  const [theirs, ours] = [createTokenizer(teacher.tokenizer), createTokenizer(base.tokenizer)];
  for (let id = 0; id < Math.min(theirs.vocabSize, ours.vocabSize); id++) {
    const [other, own] = [theirs.token(id), ours.token(id)];
    if (other === own) continue;
    const said = (token: string | undefined) => (token === undefined ? "nothing" : JSON.stringify(token));
    throw new UserError(
      `objective.teacher: ${name} has another vocabulary than the base: token ${id} is ${said(other)} there and ${said(own)} here; take a teacher of the base's own family`,
      { code: "wrong_base" },
    );
  }
}

/** Throws UserError where the base is its own teacher and reads nothing that the model does not. */
export function refuseIdleTeacher(config: TrainConfig, samples: readonly Sample[]): void {
  const { name, teacher } = config.objective;
  if (!(OBJECTIVES[name] as ObjectiveKind).usesTeacher || teacher !== "base") return;
  if (together(samples).some(({ taughtBy }) => taughtBy)) return;
  throw new UserError(
    "objective.teacher: the base as its own teacher reads what the model reads, so there is nothing to learn: set objective.teacher_prompt, give rows a teacher_prompt, or name another base",
    { code: "invalid_config" },
  );
}

/** What a teacher is made of. */
export interface TeacherOptions {
  readonly config: TrainConfig;
  readonly platform: Platform;
  /** As of `openTeacher`. */
  readonly opened: OpenModel | undefined;
  readonly model: TrainerModel;
  /** What must be the same for what the run folder keeps to be taken again. */
  readonly identity: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The teacher of a run, and how to be rid of what was loaded for it; undefined: the trainer's own, which is the base. With `top_k` it is
 * asked about all samples at once, what it said is kept in the run folder, and it is there no longer.
 */
export async function* teacherOf(
  samples: readonly Sample[],
  options: TeacherOptions,
): AsyncGenerator<TrainEvent, { readonly teacher: Teacher; readonly release: () => void } | undefined> {
  const { config, opened, model } = options;
  const objective = objectiveOf(config);
  const topK = isTaught(objective) ? objective.lesson.topK : undefined;
  const nothing = () => {};
  if (!opened && topK === undefined) return undefined;
  const all = together(samples);
  const known = topK === undefined ? undefined : await readTop(options, all, topK);
  if (known) return { teacher: new TopTeacher(known, topK!), release: nothing };
  const loaded = opened ? yield* load(options, opened) : undefined;
  const release = () => {
    for (const { buffer } of loaded?.weights.values() ?? []) model.device.free(buffer);
  };
  if (topK === undefined) return { teacher: new StreamTeacher(loaded!, { other: true }), release };
  yield note(`asking the teacher about ${all.length} texts, once`);
  const vocab = Math.min(model.config.vocabSize, loaded?.config.vocabSize ?? Number.POSITIVE_INFINITY);
  if (topK >= vocab)
    throw new UserError(`objective.top_k: expected less than the vocabulary's ${vocab} tokens, got ${topK}`);
  const found = await askAll(loaded ?? model, all, { ...options, k: topK, vocab });
  release();
  await writeTop(options, all, found, topK);
  return { teacher: new TopTeacher(found, topK), release: nothing };
}

/** The teacher's weights, held as the base's are. */
async function* load(
  { config, platform, model }: TeacherOptions,
  opened: OpenModel,
): AsyncGenerator<TrainEvent, TrainerModel> {
  const notes: string[] = [];
  const onNote = (message: string) => notes.push(message);
  const loaded = yield* whileLoading(
    (onProgress) => loadBase(platform, model.device, opened, { ...config, onProgress, onNote }),
    platform.now,
  );
  for (const message of notes) yield note(message);
  return loaded;
}

async function askAll(
  model: TrainerModel,
  samples: readonly Sample[],
  { config, signal, k, vocab }: TeacherOptions & { readonly k: number; readonly vocab: number },
): Promise<Map<Sample, TopTokens>> {
  const scorer = new Scorer(model);
  const temperature = config.objective.temperature ?? 1;
  const found = new Map<Sample, TopTokens>();
  try {
    for (const sample of samples) {
      signal?.throwIfAborted();
      const targets = markedTokens([sample]);
      const [ids, logps] = [new Int32Array(targets * k), new Float32Array(targets * (k + 1))];
      await scorer.logits(readByTeacher(sample), (target, logits) => {
        const top = topTokens(logits, { vocab, k, temperature });
        ids.set(top.ids, target * k);
        logps.set(top.logps, target * (k + 1));
      });
      found.set(sample, { ids, logps });
    }
    return found;
  } finally {
    await scorer.dispose();
  }
}

const fileOf = ({ config }: TeacherOptions): string => join(config.outputDir, OUTPUT.teacher);

/** Keeps what the teacher said, sample after sample. */
async function writeTop(
  options: TeacherOptions,
  samples: readonly Sample[],
  found: ReadonlyMap<Sample, TopTokens>,
  k: number,
): Promise<void> {
  const ids = Int32Array.from(samples.flatMap((sample) => Array.from(found.get(sample)!.ids)));
  const logps = Float32Array.from(samples.flatMap((sample) => Array.from(found.get(sample)!.logps)));
  const targets = ids.length / k;
  const tensors: [string, HostTensor][] = [
    ["ids", { dtype: "i32", shape: [targets, k], data: ids }],
    ["logps", f32([targets, k + 1], logps)],
  ];
  await writeSafetensors(
    options.platform.files,
    fileOf(options),
    tensors.map(([name, tensor]) => hostTensor(name, tensor)),
    { identity: JSON.stringify(options.identity) },
  );
}

/** What an earlier start of the same run has kept. */
async function readTop(
  options: TeacherOptions,
  samples: readonly Sample[],
  k: number,
): Promise<Map<Sample, TopTokens> | undefined> {
  const { files } = options.platform;
  if (!(await files.stat(fileOf(options)))) return undefined;
  const targets = samples.map((sample) => markedTokens([sample]));
  const all = targets.reduce((sum, n) => sum + n, 0);
  const source = await openSafetensors(files, fileOf(options)).catch(() => undefined);
  if (!source) return undefined;
  try {
    const { metadata, tensors } = source;
    const isOurs =
      metadata.identity === JSON.stringify(options.identity) && tensors.get("ids")?.shape.join() === `${all},${k}`;
    if (!isOurs) return undefined;
    const raw = await source.readRaw("ids");
    const ids = new Int32Array(raw.buffer, raw.byteOffset, all * k);
    const logps = await source.read("logps");
    let at = 0;
    return new Map(
      samples.map((sample, i) => {
        const [from, to] = [at, (at += targets[i]!)];
        return [sample, { ids: ids.slice(from * k, to * k), logps: logps.slice(from * (k + 1), to * (k + 1)) }];
      }),
    );
  } finally {
    await source.close();
  }
}

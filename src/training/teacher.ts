import type { MicroBatch, Sample } from "../data/sample.js";
import { type DistillSettings, headWeight, type ModelConfig, TEACHER } from "../models/index.js";
import type { View } from "../runtime/index.js";
import { likeliest } from "../tensor/index.js";
import type { TrainerModel } from "./pass-context.js";
import { Scorer } from "./scorer.js";

/** What a teacher said at the positions that predict targets, one behind the other. */
export type Told =
  /** Its last stream [targets, width], out of which its head makes the whole distribution. */
  | { readonly kind: "stream"; readonly width: number; readonly values: Float32Array }
  /** Its k likeliest tokens [targets, k] and their log-probabilities [targets, k + 1], the last that of all others together. */
  | { readonly kind: "top"; readonly k: number; readonly ids: BigInt64Array; readonly logps: Float32Array };

/** The head of a teacher that is another base. */
export interface TeacherHead {
  readonly config: ModelConfig;
  readonly dtype: "f32" | "bf16";
  /** By their names in the head's graph. */
  readonly weights: Readonly<Record<string, View>>;
}

/** What a micro-batch is compared with, and how. */
export interface Lesson {
  readonly settings: DistillSettings;
  readonly told: Told;
  readonly teacher?: TeacherHead | undefined;
  /** Whether the entropies of the model's distributions are asked for, too. Default false. */
  readonly entropy?: boolean;
}

/** Whatever can say what distributions a model is to come near to. */
export interface Teacher {
  /** Default: the model's own. */
  readonly head?: TeacherHead | undefined;
  /** Of a micro-batch's targets, in their order. */
  tell(batch: MicroBatch): Promise<Told>;
  dispose(): Promise<void>;
}

/** Whether a micro-batch is of texts that are to stay as the base has them. */
export const isKept = (batch: MicroBatch): boolean => batch[0]?.side === "kept";

/** The sequence that a teacher reads where the model reads another: its targets are the same. */
export const readByTeacher = (sample: Sample): Sample => sample.taughtBy ?? sample;

/**
 * A model without an adapter as a teacher. What it makes of a sample is found once, when it is first asked for, and alone, so that it
 * is the same in a resumed run.
 */
export class StreamTeacher implements Teacher {
  readonly head: TeacherHead | undefined;
  private readonly scorer: Scorer;
  private readonly width: number;
  /** Samples of rows stay; the model's own answers are gone after their step. */
  private readonly found = new WeakMap<Sample, Float32Array>();

  /** `other`: the model is another base than the one that learns. */
  constructor(model: TrainerModel, { other = false } = {}) {
    this.scorer = new Scorer(model);
    this.width = model.config.hiddenSize;
    if (other) this.head = headOf(model, this.scorer);
  }

  async tell(batch: MicroBatch): Promise<Told> {
    const parts: Float32Array[] = [];
    for (const sample of batch) parts.push(await this.stream(sample));
    const values = new Float32Array(parts.reduce((n, { length }) => n + length, 0));
    let start = 0;
    for (const part of parts) {
      values.set(part, start);
      start += part.length;
    }
    return { kind: "stream", width: this.width, values };
  }

  private async stream(sample: Sample): Promise<Float32Array> {
    const known = this.found.get(sample);
    if (known) return known;
    const stream = await this.scorer.stream(readByTeacher(sample));
    this.found.set(sample, stream);
    return stream;
  }

  dispose(): Promise<void> {
    return this.scorer.dispose();
  }
}

function headOf({ config }: TrainerModel, scorer: Scorer): TeacherHead {
  const weight = scorer.operand(headWeight(config));
  return {
    config,
    dtype: weight.dtype === "bf16" ? "bf16" : "f32",
    weights: {
      [`${TEACHER}norm.weight`]: scorer.operand("model.norm.weight"),
      [`${TEACHER}lm_head.weight`]: weight,
    },
  };
}

/** The likeliest tokens at each target of a sample: ids [targets, k] and log-probabilities [targets, k + 1]. */
export interface TopTokens {
  readonly ids: Int32Array;
  readonly logps: Float32Array;
}

/** What a teacher has said of every sample beforehand. */
export class TopTeacher implements Teacher {
  private readonly found: ReadonlyMap<Sample, TopTokens>;
  private readonly k: number;

  constructor(found: ReadonlyMap<Sample, TopTokens>, k: number) {
    this.found = found;
    this.k = k;
  }

  async tell(batch: MicroBatch): Promise<Told> {
    const own = batch.map((sample) => this.found.get(sample)!);
    const ids = BigInt64Array.from(
      own.flatMap((one) => Array.from(one.ids)),
      BigInt,
    );
    return { kind: "top", k: this.k, ids, logps: Float32Array.from(own.flatMap((one) => Array.from(one.logps))) };
  }

  async dispose(): Promise<void> {}
}

/** The `k` largest of `logits` divided by a temperature, among the first `vocab`, with their log-probabilities and the others'. */
export function topTokens(
  logits: Float32Array,
  { vocab, k, temperature }: { vocab: number; k: number; temperature: number },
) {
  const order = likeliest(logits.subarray(0, vocab), k);
  const most = logits[order[0]!]! / temperature;
  let all = 0;
  for (let i = 0; i < vocab; i++) all += Math.exp(logits[i]! / temperature - most);
  const chosen = new Set(order);
  let rest = 0;
  for (let i = 0; i < vocab; i++) if (!chosen.has(i)) rest += Math.exp(logits[i]! / temperature - most);
  const logps = order.map((id) => logits[id]! / temperature - most - Math.log(all));
  return { ids: order, logps: [...logps, Math.max(LEAST, Math.log(rest / all))] };
}

/** What log-probability stands for nothing. */
const LEAST = -700;

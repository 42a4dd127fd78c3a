import { type DatasetOptions, describeDataset, loadDataset } from "../../data/dataset.js";
import type { Sample } from "../../data/sample.js";
import { Sequence } from "../../generation/decoder.js";
import { readChunks } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import type { LoadedAdapter, LoadedModel } from "../model.js";
import { atOnce, inParallel } from "./answers.js";
import type { Suite } from "./suite-file.js";

/** How likely one general text is, and how far the two models are apart on it. Sums over its tokens, in nats. */
export interface TextScore {
  readonly text: string;
  /** Tokens that are predicted. */
  readonly tokens: number;
  readonly before: { readonly nll: number };
  /** `kl`: KL(base || tuned) at each of these tokens. */
  readonly after?: { readonly nll: number; readonly kl: number };
}

export interface TextOptions extends Pick<DatasetOptions, "format" | "columns" | "trainOn" | "maxSeqLen" | "signal"> {
  readonly adapter?: LoadedAdapter;
  readonly onNote?: (message: string) => void;
  readonly onText?: () => void;
}

/** The general texts of a suite as tokens. Throws UserError as `loadDataset`. */
export async function readTexts(
  model: LoadedModel,
  { path, texts }: Suite,
  { adapter, onNote, format, columns, trainOn, maxSeqLen, signal }: TextOptions,
): Promise<readonly Sample[]> {
  if (texts === undefined) return [];
  const { platform, tokenizer, resident } = model;
  const name = typeof texts === "string" ? texts : `${path} (texts)`;
  const source = typeof texts === "string" ? readChunks(platform.files, texts) : [jsonLines(texts)];
  const context = { tokenizer, chat: adapter?.chat ?? model.chat, vocabSize: resident.config.vocabSize };
  const dataset = await loadDataset(source, context, { name, format, columns, trainOn, maxSeqLen, signal });
  for (const line of describeDataset(dataset)) onNote?.(line);
  return dataset.samples;
}

const jsonLines = (texts: readonly string[]): Uint8Array =>
  new TextEncoder().encode(texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));

/**
 * Base and tuned model read every text side by side, a token at a time. Throws UserError for a score that is not finite.
 */
export async function scoreTexts(
  model: LoadedModel,
  samples: readonly Sample[],
  { adapter, signal, onText }: TextOptions,
): Promise<TextScore[]> {
  const most = Math.max(1, Math.floor(atOnce(model) / (adapter ? 2 : 1)));
  return inParallel(samples, most, async (sample) => {
    const score = await scoreText(model, sample, { adapter, signal });
    onText?.();
    const sums = [score.before.nll, score.after?.nll ?? 0, score.after?.kl ?? 0];
    if (sums.every(Number.isFinite)) return score;
    throw new UserError(`text ${sample.index + 1}: the logits of ${model.name} are not finite`);
  });
}

async function scoreText(
  model: LoadedModel,
  { ids, supervised }: Sample,
  { adapter, signal }: Pick<TextOptions, "adapter" | "signal">,
): Promise<TextScore> {
  const readers = [undefined, ...(adapter ? [adapter.resident] : [])].map(
    (resident) => new Sequence(model.decoder, ids.length, resident),
  );
  try {
    const [before, after] = [{ nll: 0 }, { nll: 0, kl: 0 }];
    let tokens = 0;
    for (let i = 0; i + 1 < ids.length; i++) {
      signal?.throwIfAborted();
      const [base, tuned] = await Promise.all(readers.map((reader) => reader.feed([ids[i]!])));
      if (!supervised[i + 1]) continue;
      tokens++;
      before.nll -= logProbability(base!, ids[i + 1]!);
      if (!tuned) continue;
      after.nll -= logProbability(tuned, ids[i + 1]!);
      after.kl += divergence(base!, tuned);
    }
    const text = model.tokenizer.decode(ids, { skipSpecialTokens: true });
    return { text, tokens, before, ...(adapter ? { after } : {}) };
  } finally {
    for (const reader of readers) reader.dispose();
  }
}

/** log sum exp of logits. */
function logSum(logits: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > most) most = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  return most + Math.log(sum);
}

const logProbability = (logits: Float32Array, id: number): number => logits[id]! - logSum(logits);

/** KL(p || q) of the distributions that two rows of logits give, in nats. */
export function divergence(p: Float32Array, q: Float32Array): number {
  const [sumP, sumQ] = [logSum(p), logSum(q)];
  let kl = 0;
  for (let i = 0; i < p.length; i++) {
    const logP = p[i]! - sumP;
    kl += Math.exp(logP) * (logP - (q[i]! - sumQ));
  }
  return kl;
}

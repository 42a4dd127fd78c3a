import type { Sample } from "../data/sample.js";
import { EMBEDDING } from "../models/index.js";
import { copyRows, type Device, tensor, type View } from "../runtime/index.js";
import { addedTokensUsed, rowNorms, untrainedTokens } from "../tokenizers/special-tokens.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { Start } from "./start-values.js";

/** Rows `ids` of an embedding, one behind the other. */
async function readRows(device: Device, embedding: View, ids: readonly number[]): Promise<Float32Array> {
  const width = embedding.shape[1]!;
  const rows = tensor(device, "f32", [ids.length, width]);
  copyRows(device, embedding, ids, rows);
  const data = (await device.download(rows)) as Float32Array;
  device.free(rows.buffer);
  return data;
}

/** Ordinary rows that an embedding's special ones are compared with. */
const COMPARED = 500;

/** A token, and how its vocabulary writes it. */
interface Token {
  readonly id: number;
  readonly token: string;
}

/** What is looked at of a run. `embedding` is [vocab, hidden]; only some of its rows are read. */
export interface TokensOfRun {
  readonly device: Device;
  readonly embedding: View;
  readonly tokenizer: Pick<Tokenizer, "addedIds" | "token">;
  readonly samples: readonly Sample[];
  readonly start: Start;
}

/**
 * Names the tokens of the rows that the base seems never to have been trained on and that the run does not train either, with a
 * remedy; undefined: there are none.
 */
export async function untrainedTokensMessage(run: TokensOfRun): Promise<string | undefined> {
  const frozen = (await findUntrained(run)).filter(({ id }) => !learnsRow(run.start, id));
  return frozen.length > 0 ? message(frozen) : undefined;
}

/** The special tokens of these rows that the base seems never to have been trained on. */
async function findUntrained({ device, embedding, tokenizer, samples }: TokensOfRun): Promise<Token[]> {
  const [vocab, width] = embedding.shape as readonly [number, number];
  const used = addedTokensUsed(
    samples.map(({ ids }) => ids),
    tokenizer.addedIds,
  );
  if (used.length === 0) return [];
  const spread = Array.from({ length: Math.min(COMPARED, vocab) }, (_, i) => Math.floor((i * vocab) / COMPARED));
  const ids = [...new Set([...used, ...tokenizer.addedIds, ...spread])].filter((id) => id < vocab);
  const norms = rowNorms(await readRows(device, embedding, ids), width);
  const positions = used.map((id) => ids.indexOf(id)).filter((at) => at >= 0);
  return untrainedTokens(positions, norms).map((at) => {
    const id = ids[at]!;
    return { id, token: tokenizer.token(id) ?? String(id) };
  });
}

/** Whether a token's row of the embedding is trained. */
function learnsRow({ trainables, initial }: Start, id: number): boolean {
  const tokens = trainables.kind === "lora" ? trainables.lora.trainableTokenIndices : undefined;
  return initial.has(EMBEDDING) || (tokens?.includes(id) ?? false);
}

function message(tokens: readonly Token[]): string {
  return (
    `the rows use tokens that the base was never trained on: ${tokens.map(({ token }) => token).join(", ")}. Their embeddings are ` +
    `frozen in LoRA, so the model cannot learn them; lora.trainable_token_indices: [${tokens.map(({ id }) => id).join(", ")}] trains ` +
    `their rows, and an instruction-tuned base, or another chat template, avoids this`
  );
}

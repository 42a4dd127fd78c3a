import type { TensorPlace, TensorSource } from "../formats/source.js";
import type { ModelConfig } from "../models/config.js";

const HEAD = "lm_head.weight";
const EMBEDDING = "model.embed_tokens.weight";
const CHUNK_BYTES = 4 * 2 ** 20;

/**
 * A checkpoint of tied weights may hold the one matrix under the head's name alone (safetensors' `save_model` keeps the first
 * name of what is shared): it is the embedding then, as in transformers.
 */
export function withEmbedding({ tieWordEmbeddings: tied }: ModelConfig, source: TensorSource): TensorSource {
  const head = source.tensors.get(HEAD);
  if (!tied || !head || source.tensors.has(EMBEDDING)) return source;
  const stored = (name: string) => (name === EMBEDDING ? HEAD : name);
  return {
    ...source,
    tensors: new Map([...source.tensors, [EMBEDDING, { ...head, name: EMBEDDING }]]),
    read: (name, target) => source.read(stored(name), target),
    readRaw: (name, target) => source.readRaw(stored(name), target),
    place: (name) => source.place(stored(name)),
  };
}

/**
 * Whether the head is the embedding. A checkpoint that says so (`tie_word_embeddings`) and holds a head with other values all
 * the same is not tied, as in transformers 5 (`tie_weights`): its head is used, and a sentence says so.
 */
export async function headTied(
  config: ModelConfig,
  source: TensorSource,
  where: string,
): Promise<{ readonly tied: boolean; readonly notes: readonly string[] }> {
  const { tieWordEmbeddings: tied } = config;
  const head = source.tensors.get(HEAD);
  if (!tied || !head || (await sameValues(source))) return { tied, notes: [] };
  const why = `tie_word_embeddings is true, but ${HEAD} holds other values than ${EMBEDDING}`;
  return { tied: false, notes: [`${where}: ${why}: it is used as it is, untied, as in transformers`] };
}

async function sameValues(source: TensorSource): Promise<boolean> {
  const [head, embedding] = [source.tensors.get(HEAD)!, source.tensors.get(EMBEDDING)!];
  if (head.shape.join() !== embedding.shape.join()) return false;
  if (head.stored === embedding.stored) return sameBytes(source, source.place(HEAD), source.place(EMBEDDING));
  const [a, b] = [await source.read(HEAD), await source.read(EMBEDDING)];
  return a.every((value, i) => value === b[i]);
}

/** Compares chunk by chunk: an untied head differs in its first values. */
async function sameBytes({ files }: TensorSource, a: TensorPlace, b: TensorPlace): Promise<boolean> {
  const [left, right] = [new Uint8Array(CHUNK_BYTES), new Uint8Array(CHUNK_BYTES)];
  for (let at = 0; at < a.bytes; at += CHUNK_BYTES) {
    const parts = await Promise.all(
      [a, b].map(async ({ path, offset, bytes }, i) => {
        const part = (i === 0 ? left : right).subarray(0, Math.min(CHUNK_BYTES, bytes - at));
        await files.find((file) => file.path === path)!.read(offset + at, part);
        return part;
      }),
    );
    if (!parts[0]!.every((byte, i) => byte === parts[1]![i])) return false;
  }
  return true;
}

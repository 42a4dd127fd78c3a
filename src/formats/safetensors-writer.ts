import { asBytes, f32ToBf16, f32ToF16, type HostTensor, type Shape, sizeOf, UserError } from "../tensor/index.js";
import { type Files, join } from "./files.js";
import { jsonBytes } from "./json.js";
import { SAFETENSORS_DTYPES } from "./safetensors.js";

/** A tensor to be written; its bytes are asked for once, when its turn comes, and may come in chunks. */
export interface TensorToWrite {
  readonly name: string;
  /** Our dtype name, a `stored` of `SAFETENSORS_DTYPES`. */
  readonly dtype: string;
  readonly shape: Shape;
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** Floating dtypes that weights can be written in. */
export type WeightDtype = "f32" | "f16" | "bf16";

const KINDS = Object.entries(SAFETENSORS_DTYPES).map(([code, kind], rank) => ({ code, rank, ...kind }));
const CHUNK_VALUES = 2 ** 20;

function kindOf(tensor: TensorToWrite): (typeof KINDS)[number] {
  const kind = KINDS.find(({ stored }) => stored === tensor.dtype);
  if (!kind) throw new RangeError(`${tensor.name}: safetensors has no dtype ${tensor.dtype}`);
  return kind;
}

const bytesOf = (tensor: TensorToWrite): number => kindOf(tensor).bytes * sizeOf(tensor.shape);

/** A host tensor as it is, under `name`. */
export function hostTensor(name: string, tensor: HostTensor): TensorToWrite {
  const { data, dtype, shape } = tensor;
  return { name, dtype, shape, chunks: () => [asBytes(data)] };
}

/** The bytes of fp32 values in `dtype`, in chunks. Throws UserError naming the tensor when float16 cannot hold a value. */
export function* narrowed(name: string, values: Float32Array, dtype: WeightDtype): Generator<Uint8Array> {
  for (let at = 0; at < values.length; at += CHUNK_VALUES) {
    const part = values.subarray(at, at + CHUNK_VALUES);
    const data = dtype === "f32" ? part : dtype === "bf16" ? f32ToBf16(part) : f32ToF16(part);
    if (dtype === "f16") checkRange(name, part, data as Uint16Array);
    yield asBytes(data);
  }
}

function checkRange(name: string, values: Float32Array, halves: Uint16Array): void {
  for (let i = 0; i < halves.length; i++) {
    if ((halves[i]! & 0x7fff) === 0x7c00 && Number.isFinite(values[i]!)) {
      throw new UserError(`${name}: ${values[i]} is beyond float16 (65504); write bf16 or f32 instead`);
    }
  }
}

/**
 * Writes one safetensors file, whole or not at all, byte for byte as the reference implementation would: tensors by falling
 * dtype then name, header padded to 8 bytes. `metadata` defaults to `{format: "pt"}`, which some readers insist on.
 */
export async function writeSafetensors(
  files: Files,
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): Promise<void> {
  const ordered = [...tensors].sort((a, b) => kindOf(b).rank - kindOf(a).rank || (a.name < b.name ? -1 : 1));
  await files.write(path, contents(ordered, metadata));
}

async function* contents(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): AsyncGenerator<Uint8Array> {
  yield headerBytes(tensors, metadata);
  for (const tensor of tensors) {
    let written = 0;
    for await (const chunk of tensor.chunks()) {
      written += chunk.length;
      yield chunk;
    }
    if (written !== bytesOf(tensor)) {
      throw new RangeError(`${tensor.name}: ${bytesOf(tensor)} bytes were announced, ${written} came`);
    }
  }
}

function headerBytes(tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries: [string, unknown][] = [["__metadata__", metadata]];
  let offset = 0;
  for (const tensor of tensors) {
    const end = offset + bytesOf(tensor);
    entries.push([tensor.name, { dtype: kindOf(tensor).code, shape: tensor.shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = new TextEncoder().encode(
    `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`,
  );
  const bytes = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - 8), true);
  bytes.set(json, 8);
  return bytes;
}

/**
 * Writes a model's weights as `model.safetensors`, or past `maxShardBytes` (default 5 GB, as transformers had it) as
 * numbered shards with `model.safetensors.index.json`.
 */
export async function writeWeights(
  files: Files,
  folder: string,
  tensors: readonly TensorToWrite[],
  maxShardBytes = 5e9,
): Promise<void> {
  const shards = intoShards(tensors, maxShardBytes);
  if (shards.length === 1) return writeSafetensors(files, join(folder, "model.safetensors"), tensors);
  const weightMap: Record<string, string> = {};
  for (const [i, shard] of shards.entries()) {
    const name = `model-${String(i + 1).padStart(5, "0")}-of-${String(shards.length).padStart(5, "0")}.safetensors`;
    await writeSafetensors(files, join(folder, name), shard);
    for (const tensor of shard) weightMap[tensor.name] = name;
  }
  const total = tensors.reduce((n, tensor) => n + bytesOf(tensor), 0);
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  await files.write(join(folder, "model.safetensors.index.json"), jsonBytes(index));
}

function intoShards(tensors: readonly TensorToWrite[], maxShardBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const size = bytesOf(tensor);
    if (bytes + size > maxShardBytes && bytes > 0) {
      shards.push([]);
      bytes = 0;
    }
    shards[shards.length - 1]!.push(tensor);
    bytes += size;
  }
  return shards;
}

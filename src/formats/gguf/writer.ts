import { CODECS } from "../../tensor/codecs/quants.js";
import type { GgufWeightType } from "../../tensor/codecs/quants-encode.js";
import { type Shape, sizeOf } from "../../tensor/index.js";
import type { Files } from "../files.js";
import { partName } from "./parts.js";
import { GGML_TYPES } from "./reader.js";

/** Metadata types that are written, by ggml's numbers. */
const FIELD_TYPES = { u16: 2, u32: 4, i32: 5, f32: 6, bool: 7, string: 8 } as const;
const ARRAY = 9;
type Scalar = keyof typeof FIELD_TYPES;

/** A metadata value with its type: one, or a list. */
export type GgufField =
  | readonly [type: "u16" | "u32" | "i32" | "f32", value: number]
  | readonly [type: "bool", value: boolean]
  | readonly [type: "string", value: string]
  | readonly [type: "u32[]" | "i32[]" | "f32[]", value: readonly number[]]
  | readonly [type: "string[]", value: readonly string[]]
  | readonly [type: "bool[]", value: readonly boolean[]];

/** A tensor to be written; dimensions outermost first. Its bytes are asked for once, when its turn comes. */
export interface GgufTensorToWrite {
  readonly name: string;
  readonly shape: Shape;
  readonly type: GgufWeightType;
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

const ALIGNMENT = 32;
const TYPE_IDS = new Map(Object.entries(GGML_TYPES).map(([id, name]) => [name, Number(id)]));

const padded = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** Bytes a tensor takes in the file, without padding. */
function bytesOf({ shape, type }: GgufTensorToWrite): number {
  const { block, bytes } = CODECS[type];
  return (sizeOf(shape) / block) * bytes;
}

/**
 * Writes a GGUF file, version 3 (ggml's docs/gguf.md), whole or not at all, tensor by tensor in the order given. The same
 * input gives the same bytes.
 */
export async function writeGguf(
  files: Files,
  path: string,
  metadata: ReadonlyMap<string, GgufField>,
  tensors: readonly GgufTensorToWrite[],
): Promise<void> {
  await files.write(path, contents(metadata, tensors));
}

/**
 * Writes a GGUF in parts of at most `most` bytes of tensors, one tensor at least, as llama.cpp's gguf-split does: the first has the
 * metadata, each says which of how many it is. `path` is that of a whole file (`NAME.gguf`), which is written where one part is
 * enough. Returns the path of the file, or of the first part.
 */
export async function writeGgufParts(
  files: Files,
  path: string,
  metadata: ReadonlyMap<string, GgufField>,
  tensors: readonly GgufTensorToWrite[],
  most: number,
): Promise<string> {
  const parts: GgufTensorToWrite[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    const bytes = padded(bytesOf(tensor));
    if (bytes > room || parts.length === 0) {
      parts.push([]);
      room = most;
    }
    parts.at(-1)!.push(tensor);
    room -= bytes;
  }
  if (parts.length <= 1) {
    await writeGguf(files, path, metadata, tensors);
    return path;
  }
  const name = (index: number) => partName(path.replace(/\.gguf$/, ""), index, parts.length);
  for (const [index, part] of parts.entries()) {
    const split = [
      ["split.no", ["u16", index]],
      ["split.count", ["u16", parts.length]],
      ["split.tensors.count", ["i32", tensors.length]],
    ] as const;
    await writeGguf(files, name(index), new Map([...(index === 0 ? metadata : []), ...split]), part);
  }
  return name(0);
}

async function* contents(
  metadata: ReadonlyMap<string, GgufField>,
  tensors: readonly GgufTensorToWrite[],
): AsyncGenerator<Uint8Array> {
  const header = headerBytes(metadata, tensors);
  yield header;
  yield new Uint8Array(padded(header.length) - header.length);
  for (const tensor of tensors) {
    let written = 0;
    for await (const chunk of tensor.chunks()) {
      written += chunk.length;
      yield chunk;
    }
    const expected = bytesOf(tensor);
    if (written !== expected) throw new RangeError(`${tensor.name}: ${expected} bytes were announced, ${written} came`);
    yield new Uint8Array(padded(expected) - expected);
  }
}

function headerBytes(
  metadata: ReadonlyMap<string, GgufField>,
  tensors: readonly GgufTensorToWrite[],
): Uint8Array<ArrayBuffer> {
  const out = new Bytes();
  out.text("GGUF");
  out.u32(3);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, [type, value]] of metadata) {
    out.string(key);
    const scalar = type.replace("[]", "") as Scalar;
    if (!Array.isArray(value)) out.u32(FIELD_TYPES[scalar]);
    else {
      out.u32(ARRAY);
      out.u32(FIELD_TYPES[scalar]);
      out.u64(value.length);
    }
    for (const item of [value].flat()) out.scalar(scalar, item as number | boolean | string);
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.string(tensor.name);
    out.u32(tensor.shape.length);
    for (const dimension of [...tensor.shape].reverse()) out.u64(dimension);
    out.u32(TYPE_IDS.get(tensor.type)!);
    out.u64(offset);
    offset += padded(bytesOf(tensor));
  }
  return out.bytes();
}

/** Little-endian bytes that grow. */
class Bytes {
  private buffer = new Uint8Array(2 ** 16);
  private length = 0;
  private readonly encoder = new TextEncoder();

  bytes(): Uint8Array<ArrayBuffer> {
    return this.buffer.slice(0, this.length);
  }

  /** Room for `n` more bytes. */
  private grow(n: number): DataView {
    if (this.length + n > this.buffer.length) {
      const larger = new Uint8Array(Math.max(2 * this.buffer.length, this.length + n));
      larger.set(this.buffer);
      this.buffer = larger;
    }
    const view = new DataView(this.buffer.buffer, this.length, n);
    this.length += n;
    return view;
  }

  text(text: string): void {
    const bytes = this.encoder.encode(text);
    const { byteOffset } = this.grow(bytes.length);
    this.buffer.set(bytes, byteOffset);
  }

  string(text: string): void {
    this.u64(this.encoder.encode(text).length);
    this.text(text);
  }

  u32(value: number): void {
    this.grow(4).setUint32(0, value, true);
  }

  u64(value: number): void {
    this.grow(8).setBigUint64(0, BigInt(value), true);
  }

  scalar(type: Scalar, value: number | boolean | string): void {
    if (type === "string") this.string(String(value));
    else if (type === "bool") this.grow(1).setUint8(0, value ? 1 : 0);
    else if (type === "u16") this.grow(2).setUint16(0, Number(value), true);
    else if (type === "f32") this.grow(4).setFloat32(0, Number(value), true);
    else if (type === "i32") this.grow(4).setInt32(0, Number(value), true);
    else this.u32(Number(value));
  }
}

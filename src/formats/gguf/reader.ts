import { codecOf } from "../../tensor/codecs/quants.js";
import { UserError } from "../../tensor/index.js";
import type { OpenFile } from "../files.js";

/** A metadata value: 64-bit integers are numbers where they are safe, else bigint. */
export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

/** One tensor of a GGUF file. Dimensions are outermost first, as everywhere in this project (GGUF has them reversed). */
export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** A key of `CODECS`, or the name of a type that cannot be read. */
  readonly type: string;
  /** First byte in the file. */
  readonly offset: number;
  readonly bytes: number;
}

export interface GgufFile {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** ggml's tensor types by number (ggml.h, `enum ggml_type`). */
export const GGML_TYPES: Readonly<Record<number, string>> = {
  0: "f32",
  1: "f16",
  2: "q4_0",
  3: "q4_1",
  6: "q5_0",
  7: "q5_1",
  8: "q8_0",
  9: "q8_1",
  10: "q2_k",
  11: "q3_k",
  12: "q4_k",
  13: "q5_k",
  14: "q6_k",
  15: "q8_k",
  16: "iq2_xxs",
  17: "iq2_xs",
  18: "iq3_xxs",
  19: "iq1_s",
  20: "iq4_nl",
  21: "iq3_s",
  22: "iq2_s",
  23: "iq4_xs",
  24: "i8",
  25: "i16",
  26: "i32",
  27: "i64",
  28: "f64",
  29: "iq1_m",
  30: "bf16",
  34: "tq1_0",
  35: "tq2_0",
  39: "mxfp4",
};

const STRING = 8;
const ARRAY = 9;

/** Sizes and readers of the scalar metadata types, by number. */
const SCALARS: Readonly<Record<number, { bytes: number; read(v: DataView): GgufValue }>> = {
  0: { bytes: 1, read: (v) => v.getUint8(0) },
  1: { bytes: 1, read: (v) => v.getInt8(0) },
  2: { bytes: 2, read: (v) => v.getUint16(0, true) },
  3: { bytes: 2, read: (v) => v.getInt16(0, true) },
  4: { bytes: 4, read: (v) => v.getUint32(0, true) },
  5: { bytes: 4, read: (v) => v.getInt32(0, true) },
  6: { bytes: 4, read: (v) => v.getFloat32(0, true) },
  7: { bytes: 1, read: (v) => v.getUint8(0) !== 0 },
  10: { bytes: 8, read: (v) => safe(v.getBigUint64(0, true)) },
  11: { bytes: 8, read: (v) => safe(v.getBigInt64(0, true)) },
  12: { bytes: 8, read: (v) => v.getFloat64(0, true) },
};

function safe(value: bigint): number | bigint {
  return BigInt(Number(value)) === value && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

/** The least bytes that a tensor's and a key's record take: what a count may promise is bounded by the file. */
const LEAST_TENSOR = 8 + 4 + 8 + 4 + 8;
const LEAST_KEY = 8 + 4 + 1;
const DEFAULT_ALIGNMENT = 32;
/** Beyond any real file's: counts and lengths in the header above these are damage. */
const MOST_RECORDS = 2 ** 24;
const MOST_STRING = 2 ** 26;
const WINDOW = 64 * 1024;

/**
 * Reads the header of a GGUF file, version 2 or 3, little-endian (ggml's docs/gguf.md). Every count, length, dimension and
 * offset is checked against the bytes that are there before anything is allocated for it; tensors may neither overlap nor
 * leave the file. Throws UserError naming the field or tensor.
 */
export async function readGguf(file: OpenFile): Promise<GgufFile> {
  const at = new Cursor(file);
  const magic = new TextDecoder().decode(await at.take(4, "the magic number"));
  if (magic !== "GGUF") throw at.error(`it starts with ${JSON.stringify(magic)}, not "GGUF"`);
  const version = await at.u32("version");
  if (version !== 2 && version !== 3) {
    const why = version >= 2 ** 16 ? "; a big-endian file is not supported" : "; versions 2 and 3 are supported";
    throw at.error(`its version is ${version}${why}`);
  }
  const tensorCount = await at.count("tensor_count", LEAST_TENSOR);
  const keyCount = await at.count("metadata_kv_count", LEAST_KEY);
  const metadata = await readMetadata(at, keyCount);
  const infos = [];
  for (let i = 0; i < tensorCount; i++) infos.push(await readTensorInfo(at));
  const alignment = alignmentOf(at, metadata);
  const dataStart = Math.ceil(at.position / alignment) * alignment;
  return { version, metadata, tensors: place(at, infos, dataStart, alignment) };
}

async function readMetadata(at: Cursor, count: number): Promise<Map<string, GgufValue>> {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = await at.string("a metadata key", 65535);
    if (metadata.has(key)) throw at.error(`the metadata key ${JSON.stringify(key)} is there twice`);
    metadata.set(key, await readValue(at, await at.u32(key), key, 0));
  }
  return metadata;
}

async function readValue(at: Cursor, type: number, key: string, depth: number): Promise<GgufValue> {
  if (type === STRING) return at.string(key);
  const scalar = SCALARS[type];
  if (scalar) return scalar.read(at.view(await at.take(scalar.bytes, key)));
  if (type !== ARRAY) throw at.error(`metadata ${key} has the unknown type ${type}`);
  if (depth > 2) throw at.error(`metadata ${key} nests arrays too deeply`);
  const elementType = await at.u32(key);
  const element = SCALARS[elementType];
  const least = element?.bytes ?? (elementType === STRING ? 8 : 12);
  const count = await at.count(`the length of ${key}`, least);
  const values: GgufValue[] = [];
  for (let i = 0; i < count; i++) {
    if (element) values.push(element.read(at.view(at.ready(element.bytes) ?? (await at.take(element.bytes, key)))));
    else values.push(await readValue(at, elementType, key, depth + 1));
  }
  return values;
}

interface TensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: number;
  readonly offset: number;
}

async function readTensorInfo(at: Cursor): Promise<TensorInfo> {
  const name = await at.string("a tensor name", 65535);
  const rank = await at.u32(`the rank of ${name}`);
  if (rank < 1 || rank > 4) throw at.error(`tensor ${JSON.stringify(name)} has ${rank} dimensions, 1 to 4 are allowed`);
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) {
    const dim = await at.u64(`a dimension of ${name}`);
    if (dim < 1 || !Number.isSafeInteger(dim))
      throw at.error(`tensor ${JSON.stringify(name)} has the dimension ${dim}`);
    shape.unshift(dim);
  }
  const type = await at.u32(`the type of ${name}`);
  return { name, shape, type, offset: await at.u64(`the offset of ${name}`) };
}

function alignmentOf(at: Cursor, metadata: ReadonlyMap<string, GgufValue>): number {
  const value = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  if (typeof value === "number" && value >= 1 && value <= 2 ** 30 && Number.isInteger(Math.log2(value))) return value;
  throw at.error(`general.alignment must be a power of two up to 2^30, got ${value}`);
}

function place(
  at: Cursor,
  infos: readonly TensorInfo[],
  dataStart: number,
  alignment: number,
): ReadonlyMap<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  for (const { name, shape, type: id, offset } of infos) {
    const fail = (what: string) => at.error(`tensor ${JSON.stringify(name)} ${what}`);
    if (tensors.has(name)) throw fail("is there twice");
    const type = GGML_TYPES[id];
    if (type === undefined) throw fail(`has the unknown type ${id}`);
    if (offset % alignment !== 0)
      throw fail(`has the offset ${offset}, which is no multiple of the alignment ${alignment}`);
    const bytes = bytesOf(shape, type, fail);
    const end = dataStart + offset + bytes;
    if (!(end <= at.file.size))
      throw fail(`ends at byte ${end}, past the end of the file (${at.file.size}): is it truncated?`);
    tensors.set(name, { name, shape, type, offset: dataStart + offset, bytes });
  }
  let end = dataStart;
  for (const tensor of [...tensors.values()].sort((a, b) => a.offset - b.offset)) {
    if (tensor.offset < end) throw at.error(`tensor ${JSON.stringify(tensor.name)} overlaps the tensor before it`);
    end = tensor.offset + tensor.bytes;
  }
  return tensors;
}

function bytesOf(shape: readonly number[], type: string, fail: (what: string) => UserError): number {
  const codec = codecOf(type);
  if (!codec) return 0; // refused by whoever wants to read it; files may hold tensors nobody needs
  const row = shape[shape.length - 1]!;
  if (row % codec.block !== 0)
    throw fail(`has rows of ${row} values, no multiple of ${type}'s block of ${codec.block}`);
  const bytes = (shape.reduce((n, d) => n * d, 1) / codec.block) * codec.bytes;
  if (!Number.isSafeInteger(bytes)) throw fail(`would have [${shape}] values, more than any file holds`);
  return bytes;
}

/** Reads forward through a file in windows, never past its end. */
class Cursor {
  readonly file: OpenFile;
  /** Next byte to read. */
  position = 0;
  private window = new Uint8Array(0);
  private windowStart = 0;
  private readonly decoder = new TextDecoder();

  constructor(file: OpenFile) {
    this.file = file;
  }

  error(what: string): UserError {
    return new UserError(`${this.file.path}: not a sound GGUF file: ${what}`, { code: "invalid_file" });
  }

  /** The next `n` bytes when the window holds them; they are valid until the next read. */
  ready(n: number): Uint8Array | undefined {
    const from = this.position - this.windowStart;
    if (from + n > this.window.length) return undefined;
    this.position += n;
    return this.window.subarray(from, from + n);
  }

  async take(n: number, what: string): Promise<Uint8Array> {
    const held = this.ready(n);
    if (held) return held;
    if (n > this.file.size - this.position) {
      throw this.error(`it ends at byte ${this.file.size}, inside ${what}: is it truncated?`);
    }
    this.window = new Uint8Array(Math.min(Math.max(n, WINDOW), this.file.size - this.position));
    this.windowStart = this.position;
    await this.file.read(this.position, this.window);
    return this.ready(n)!;
  }

  view(bytes: Uint8Array): DataView {
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  async u32(what: string): Promise<number> {
    return this.view(await this.take(4, what)).getUint32(0, true);
  }

  /** An unsigned 64-bit number; Infinity when it is beyond what a file can address. */
  async u64(what: string): Promise<number> {
    const value = this.view(await this.take(8, what)).getBigUint64(0, true);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Number.POSITIVE_INFINITY;
  }

  /** A number of records of at least `least` bytes each, which the rest of the file must be able to hold. */
  async count(what: string, least: number): Promise<number> {
    const count = await this.u64(what);
    if (!(count <= MOST_RECORDS && count * least <= this.file.size - this.position)) {
      throw this.error(`${what} is ${count}, more than this file can hold`);
    }
    return count;
  }

  async string(what: string, most = MOST_STRING): Promise<string> {
    const head = this.ready(8) ?? (await this.take(8, what));
    const length = this.view(head).getBigUint64(0, true);
    if (length > BigInt(this.file.size - this.position) || Number(length) > most) {
      throw this.error(`${what} would be ${length} bytes long`);
    }
    return this.decoder.decode(this.ready(Number(length)) ?? (await this.take(Number(length), what)));
  }
}

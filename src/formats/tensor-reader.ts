import { type CodecName, codecOf, decodeValues, nearest, sizeOf, UserError } from "../tensor/index.js";
import type { OpenFile } from "./files.js";
import type { StoredTensor, TensorSource } from "./source.js";

/** Where a tensor's bytes are. */
export interface PlacedTensor extends StoredTensor {
  readonly file: OpenFile;
  /** First byte in the file. */
  readonly offset: number;
  /** Where the file's row i belongs, for formats that store rows (first dimension) in another order. */
  readonly rowTo?: (row: number) => number;
  /** What the file's values are above the tensor's, for f32 that formats store as a sum. Default 0. */
  readonly above?: number;
}

/** Values decoded, and bytes read, between two yields to the event loop. */
const CHUNK_VALUES = 2 ** 19;
const CHUNK_BYTES = 4 * 2 ** 20;

/** A TensorSource over tensors whose places are known and checked. `close` closes every file. */
export function tensorSource(
  format: TensorSource["format"],
  files: readonly OpenFile[],
  tensors: ReadonlyMap<string, PlacedTensor>,
): TensorSource {
  const find = (name: string): PlacedTensor => {
    const found = tensors.get(name);
    if (found) return found;
    const near = nearest(name, tensors.keys());
    throw new UserError(
      `tensor ${JSON.stringify(name)} is not in ${files[0]?.path}${near ? `; did you mean ${near}?` : ""}`,
      { code: "invalid_file" },
    );
  };
  return {
    format,
    tensors,
    files,
    read: async (name, target) => readValues(find(name), target),
    readRaw: async (name, target) => readBytes(find(name), target),
    place: (name) => {
      const { file, offset, bytes, rowTo, shape, above } = find(name);
      if (above !== undefined) throw new RangeError(`${name} does not lie in its file as it is`);
      const order = rowTo ? { rowTo: Uint32Array.from({ length: shape[0]! }, (_, row) => rowTo(row)) } : {};
      return { path: file.path, offset, bytes, ...order };
    },
    async close() {
      for (const file of files) await file.close();
    },
  };
}

async function readValues(tensor: PlacedTensor, target?: Float32Array): Promise<Float32Array> {
  const values = await storedValues(tensor, target);
  const { above = 0 } = tensor;
  if (above !== 0) for (let i = 0; i < values.length; i++) values[i]! -= above;
  return values;
}

async function storedValues(tensor: PlacedTensor, target?: Float32Array): Promise<Float32Array> {
  const codec = codecOf(tensor.stored);
  if (!codec)
    throw new UserError(`${tensor.file.path}: ${tensor.name} is ${tensor.stored}, which has no fp32 values to read`, {
      code: "invalid_file",
    });
  const size = sizeOf(tensor.shape);
  const result = fitted(tensor, size, target) ?? new Float32Array(size);
  const blocks = size / codec.block;
  const decode = (bytes: Uint8Array, to: number, count: number) =>
    decodeValues(tensor.stored as CodecName, bytes, result.subarray(to, to + count));
  if (tensor.rowTo) {
    const row = size / tensor.shape[0]!;
    const rowBlocks = row / codec.block;
    const rows = Math.max(1, Math.floor(CHUNK_VALUES / row));
    await inChunks(tensor, rowBlocks * codec.bytes, rows, (bytes, first, count) => {
      for (let i = 0; i < count; i++) {
        const to = tensor.rowTo!(first + i) * row;
        decode(bytes.subarray(i * rowBlocks * codec.bytes, (i + 1) * rowBlocks * codec.bytes), to, row);
      }
    });
    return result;
  }
  if (blocks === 0) return result;
  await inChunks(tensor, codec.bytes, CHUNK_VALUES / codec.block, (bytes, first, count) => {
    decode(bytes, first * codec.block, count * codec.block);
  });
  return result;
}

async function readBytes(tensor: PlacedTensor, target?: Uint8Array): Promise<Uint8Array> {
  const result = fitted(tensor, tensor.bytes, target) ?? new Uint8Array(tensor.bytes);
  if (tensor.above !== undefined) {
    result.set(new Uint8Array((await readValues(tensor)).buffer));
    return result;
  }
  if (tensor.rowTo) {
    const row = tensor.bytes / tensor.shape[0]!;
    await inChunks(tensor, row, Math.max(1, Math.floor(CHUNK_BYTES / row)), (bytes, first, count) => {
      for (let i = 0; i < count; i++)
        result.set(bytes.subarray(i * row, (i + 1) * row), tensor.rowTo!(first + i) * row);
    });
    return result;
  }
  for (let at = 0; at < result.length; at += CHUNK_BYTES) {
    await tensor.file.read(tensor.offset + at, result.subarray(at, at + CHUNK_BYTES));
  }
  return result;
}

/** Reads `unit`-byte records, `perChunk` at a time; the buffer given to `use` is reused. */
async function inChunks(
  tensor: PlacedTensor,
  unit: number,
  perChunk: number,
  use: (bytes: Uint8Array, first: number, count: number) => void,
): Promise<void> {
  const total = tensor.bytes / unit;
  const buffer = new Uint8Array(Math.min(total, perChunk) * unit);
  for (let first = 0; first < total; first += perChunk) {
    const count = Math.min(perChunk, total - first);
    const bytes = buffer.subarray(0, count * unit);
    await tensor.file.read(tensor.offset + first * unit, bytes);
    use(bytes, first, count);
  }
}

function fitted<T extends { length: number }>(
  tensor: StoredTensor,
  length: number,
  target: T | undefined,
): T | undefined {
  if (target && target.length !== length) {
    throw new RangeError(`${tensor.name} needs a target of ${length} elements, got ${target.length}`);
  }
  return target;
}

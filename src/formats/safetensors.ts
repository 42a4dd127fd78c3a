import { UserError } from "../tensor/index.js";
import type { Files, OpenFile } from "./files.js";
import { type JsonObject, parseObject } from "./json.js";
import type { TensorSource } from "./source.js";
import { type PlacedTensor, tensorSource } from "./tensor-reader.js";

/**
 * The dtypes of the format, in the order that its reference writer (Rust crate safetensors, `prepare`) lays tensors out:
 * by falling dtype, then by name. `stored` is our name; `bytes` is an element's size.
 */
export const SAFETENSORS_DTYPES: Readonly<Record<string, { readonly stored: string; readonly bytes: number }>> = {
  BOOL: { stored: "bool", bytes: 1 },
  U8: { stored: "u8", bytes: 1 },
  I8: { stored: "i8", bytes: 1 },
  F8_E5M2: { stored: "f8_e5m2", bytes: 1 },
  F8_E4M3: { stored: "f8_e4m3", bytes: 1 },
  I16: { stored: "i16", bytes: 2 },
  U16: { stored: "u16", bytes: 2 },
  F16: { stored: "f16", bytes: 2 },
  BF16: { stored: "bf16", bytes: 2 },
  I32: { stored: "i32", bytes: 4 },
  U32: { stored: "u32", bytes: 4 },
  F32: { stored: "f32", bytes: 4 },
  F64: { stored: "f64", bytes: 8 },
  I64: { stored: "i64", bytes: 8 },
  U64: { stored: "u64", bytes: 8 },
};

/** The reference implementation's own limit. */
const MAX_HEADER_BYTES = 100_000_000;

/** What a safetensors file's header says, checked against the file. */
export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, PlacedTensor>;
}

/** Opens one safetensors file as a source; `metadata` is its `__metadata__`. Throws UserError when it is damaged. */
export async function openSafetensors(
  files: Files,
  path: string,
): Promise<TensorSource & { readonly metadata: Readonly<Record<string, string>> }> {
  const file = await files.open(path);
  try {
    const { metadata, tensors } = await readHeader(file);
    return { ...tensorSource("safetensors", [file], tensors), metadata };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Reads and checks the header: nothing is allocated before its length is known to be plausible; every tensor's dtype times
 * shape equals its bytes; together the tensors fill the rest of the file without overlap, hole or trailing bytes.
 */
async function readHeader(file: OpenFile): Promise<SafetensorsHeader> {
  const fail = (what: string) =>
    new UserError(`${file.path}: not a sound safetensors file: ${what}`, { code: "invalid_file" });
  if (file.size < 9) throw fail(`${file.size} bytes are too few for a header`);
  const start = new Uint8Array(9);
  await file.read(0, start);
  const length = new DataView(start.buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES))
    throw fail(`its header would be ${length} bytes, at most ${MAX_HEADER_BYTES} are allowed`);
  const dataStart = 8 + Number(length);
  if (dataStart > file.size) throw fail(`its header would be ${length} bytes, the file has ${file.size}`);
  if (start[8] !== 0x7b) throw fail("its header does not start with '{'");
  const text = new Uint8Array(Number(length));
  await file.read(8, text);
  const header = parseObject(file.path, text);
  const tensors = new Map<string, PlacedTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name !== "__metadata__") tensors.set(name, placed(file, name, entry, dataStart));
  }
  checkLayout(file, tensors, dataStart);
  return { metadata: checkMetadata(file, header.__metadata__), tensors };
}

function placed(file: OpenFile, name: string, entry: unknown, dataStart: number): PlacedTensor {
  const fail = (what: string) =>
    new UserError(`${file.path}: tensor ${JSON.stringify(name)}: ${what}`, { code: "invalid_file" });
  const { dtype, shape, data_offsets: offsets, ...rest } = (entry ?? {}) as JsonObject;
  if (Object.keys(rest).length > 0) throw fail(`unknown key ${JSON.stringify(Object.keys(rest)[0])}`);
  const kind =
    typeof dtype === "string" && Object.hasOwn(SAFETENSORS_DTYPES, dtype) ? SAFETENSORS_DTYPES[dtype] : undefined;
  if (!kind) throw fail(`dtype ${JSON.stringify(dtype)} is not one of ${Object.keys(SAFETENSORS_DTYPES).join(", ")}`);
  if (!isSizes(shape)) throw fail(`shape must be a list of whole numbers, got ${JSON.stringify(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2)
    throw fail(`data_offsets must be two whole numbers, got ${JSON.stringify(offsets)}`);
  const [begin, end] = offsets as [number, number];
  if (end < begin) throw fail(`data_offsets are reversed: [${begin}, ${end}]`);
  const bytes = shape.reduce((n, d) => n * d, kind.bytes);
  if (bytes !== end - begin) throw fail(`${dtype} [${shape}] is ${bytes} bytes, but data_offsets hold ${end - begin}`);
  if (dataStart + end > file.size)
    throw fail(`it ends at byte ${dataStart + end}, past the end of the file (${file.size})`);
  return { name, shape, stored: kind.stored, bytes, file, offset: dataStart + begin };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

function checkLayout(file: OpenFile, tensors: ReadonlyMap<string, PlacedTensor>, dataStart: number): void {
  let end = dataStart;
  const sorted = [...tensors.values()].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  for (const { name, offset, bytes } of sorted) {
    if (offset !== end) {
      const what = offset < end ? "overlaps the tensor before it" : `leaves a hole of ${offset - end} bytes before it`;
      throw new UserError(`${file.path}: tensor ${JSON.stringify(name)}: ${what}`, { code: "invalid_file" });
    }
    end = offset + bytes;
  }
  if (end !== file.size) {
    throw new UserError(`${file.path}: ${file.size - end} bytes after the last tensor belong to none`, {
      code: "invalid_file",
    });
  }
}

function checkMetadata(file: OpenFile, metadata: unknown): Record<string, string> {
  if (metadata === undefined) return {};
  const entries = Object.entries((metadata ?? {}) as JsonObject);
  if (typeof metadata !== "object" || Array.isArray(metadata) || entries.some(([, v]) => typeof v !== "string")) {
    throw new UserError(`${file.path}: __metadata__ must map strings to strings`, { code: "invalid_file" });
  }
  return metadata as Record<string, string>;
}

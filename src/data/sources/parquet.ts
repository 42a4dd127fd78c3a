import type { FileMetaData } from "hyparquet";
import { UserError } from "../../tensor/index.js";
import { textSize } from "../fields.js";
import { type Chunks, type FileRow, type ReadOptions, type RowSource, tooLong } from "./source.js";

/** Most bytes of a Parquet file: it is held while it is read, because what says where its rows are stands at its end. */
const mostBytes = 2 ** 30;

/**
 * Reads Parquet (snappy, zstd, gzip, brotli, LZ4 or nothing), a row group at a time; a row's line is its number from 1.
 * A list or struct column comes as the list or object that it stands for; in it, fields that are null are left out, as
 * Parquet gives every struct the fields of all, but for `content`. Throws UserError for what is not whole Parquet.
 */
async function* readParquet(
  source: Chunks,
  name: string,
  { maxRowBytes = 1 << 23 }: ReadOptions = {},
): AsyncGenerator<FileRow> {
  const bytes = await gathered(source, name);
  const file = { byteLength: bytes.byteLength, slice: (from: number, to?: number) => bytes.slice(from, to) };
  const { parquetMetadataAsync, parquetReadAsync, columns } = await open();
  const metadata = await attempt(name, () => parquetMetadataAsync(file));
  const names = columns(metadata);
  let index = 0;
  for (const { num_rows } of metadata.row_groups) {
    const range = { rowStart: index, rowEnd: index + Number(num_rows) };
    const rows = await attempt(name, () => parquetReadAsync(file, metadata, range));
    for (const row of rows) {
      const value = Object.fromEntries(names.map((column, i) => [column, plain(row[i])]));
      const size = textSize(value);
      const at = { index, line: ++index };
      yield size > maxRowBytes ? { ...at, size: 0, error: tooLong(maxRowBytes) } : { ...at, size, value };
    }
  }
  if (index === 0) throw new UserError(`${name}: holds no rows`, { code: "invalid_rows" });
}

export const parquet: RowSource = {
  title: "Parquet",
  endings: [".parquet"],
  magic: [0x50, 0x41, 0x52, 0x31],
  read: readParquet,
};

interface InMemory {
  readonly byteLength: number;
  slice(from: number, to?: number): ArrayBuffer;
}

/** The library, loaded when it is first needed. */
async function open() {
  const [{ parquetMetadataAsync, parquetRead, parquetSchema }, { compressors }] = await Promise.all([
    import("hyparquet"),
    import("hyparquet-compressors"),
  ]);
  return {
    parquetMetadataAsync: (file: InMemory) => parquetMetadataAsync(file, { geoparquet: false }),
    columns: (metadata: FileMetaData) => parquetSchema(metadata).children.map(({ element }) => element.name),
    parquetReadAsync: (file: InMemory, metadata: FileMetaData, range: { rowStart: number; rowEnd: number }) =>
      new Promise<unknown[][]>((onComplete, onError) => {
        parquetRead({ file, metadata, compressors, ...range, geoparquet: false, onComplete }).catch(onError);
      }),
  };
}

async function attempt<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new UserError(`${name}: cannot be read as Parquet (${(error as Error).message})`, {
      cause: error,
      code: "invalid_rows",
    });
  }
}

async function gathered(source: Chunks, name: string): Promise<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of source) {
    length += part.length;
    if (length > mostBytes) {
      throw new UserError(
        `${name}: is longer than ${mostBytes} bytes, the most of a Parquet file; cut it into several`,
        { code: "invalid_rows" },
      );
    }
    parts.push(part.slice());
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole.buffer;
}

/** A value as JSON has it. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value === null || typeof value !== "object") return value ?? null;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map(plain);
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain);
  const held = Object.entries(value).filter(([name, field]) => name === "content" || (field ?? null) !== null);
  return Object.fromEntries(held.map(([name, field]) => [name, plain(field)]));
}

import { UserError } from "../../tensor/index.js";
import { readCsv } from "./delimited.js";
import { gunzipped } from "./gzip.js";
import { type FileRow, type ReadOptions, readRows } from "./jsonl.js";
import { readParquet } from "./parquet.js";

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** Reads a kind of file as rows, a row at a time; `name` is the file's name in messages. */
type RowSource = (chunks: Chunks, name: string, options: ReadOptions) => AsyncGenerator<FileRow>;

/** How a file is read, by the end of its name; any other is JSONL or a JSON array. `.gz` may stand behind each. */
export const rowSources: Readonly<Record<string, RowSource>> = {
  ".jsonl": readRows,
  ".ndjson": readRows,
  ".json": readRows,
  ".csv": (chunks, name, options) => readCsv(chunks, name, { ...options, delimiter: "," }),
  ".tsv": (chunks, name, options) => readCsv(chunks, name, { ...options, delimiter: "\t" }),
  ".parquet": readParquet,
};

/**
 * Reads the rows of a file as the end of its name says. Throws UserError for a file that is not what it is called, and for
 * one without rows.
 */
export async function* readSource(chunks: Chunks, name: string, options: ReadOptions = {}): AsyncGenerator<FileRow> {
  const lower = name.toLowerCase();
  const packed = lower.endsWith(".gz");
  const plain = packed ? lower.slice(0, -3) : lower;
  const ending = Object.keys(rowSources).find((end) => plain.endsWith(end)) ?? ".jsonl";
  const inside = packed ? gunzipped(chunks, name) : chunks;
  yield* rowSources[ending]!(ending === ".parquet" ? inside : namedRightly(inside, name), name, options);
}

/** The first bytes of files that are told by them, and the ending that their names should have. */
const magics = [
  { bytes: [0x1f, 0x8b], what: "gzip", ending: ".gz" },
  { bytes: [0x50, 0x41, 0x52, 0x31], what: "Parquet", ending: ".parquet" },
  { bytes: [0x50, 0x4b, 0x03, 0x04], what: "a zip archive", ending: undefined },
  { bytes: [0x28, 0xb5, 0x2f, 0xfd], what: "zstd", ending: undefined },
  { bytes: [0x42, 0x5a, 0x68], what: "bzip2", ending: undefined },
  { bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a], what: "xz", ending: undefined },
] as const;

async function* namedRightly(chunks: Chunks, name: string): AsyncGenerator<Uint8Array> {
  let first = true;
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue;
    const magic = first && magics.find(({ bytes }) => bytes.every((byte, i) => chunk[i] === byte));
    if (magic) {
      const todo = magic.ending
        ? `give it a name that ends in ${magic.ending}`
        : "unpack it; JSONL, JSON, CSV, TSV and Parquet are read, also with .gz";
      throw new UserError(`${name}: is ${magic.what}, which its name does not say; ${todo}`);
    }
    first = false;
    yield chunk;
  }
}

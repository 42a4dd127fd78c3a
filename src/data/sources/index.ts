import { UserError } from "../../tensor/index.js";
import { csv } from "./csv.js";
import { gunzipped } from "./gzip.js";
import { jsonLines } from "./jsonl.js";
import { parquet } from "./parquet.js";
import type { Chunks, FileRow, ReadOptions, RowSource } from "./source.js";
import { tsv } from "./tsv.js";

export type { FileRow } from "./source.js";

/** The kinds of file that rows are read from. A name that ends like none of them is read as the first one. `.gz` may stand behind each. */
export const sources = [jsonLines, csv, tsv, parquet] as const satisfies readonly RowSource[];

/** What they are called, for messages and docs. */
export const sourceTitles = sources.map(({ title }) => title).join(", ");

/**
 * Reads the rows of a file as the end of its name says. Throws UserError for a file that is not what it is called, and for
 * one without rows.
 */
export async function* readSource(chunks: Chunks, name: string, options: ReadOptions = {}): AsyncGenerator<FileRow> {
  const lower = name.toLowerCase();
  const packed = lower.endsWith(".gz");
  const plain = packed ? lower.slice(0, -3) : lower;
  const source: RowSource = sources.find(({ endings }) => endings.some((end) => plain.endsWith(end))) ?? sources[0];
  const inside = packed ? gunzipped(chunks, name) : chunks;
  yield* source.read(source.magic ? inside : textAlone(inside, name), name, options);
}

/** Files that are told by their first bytes, and the ending that their names should have. */
const magics: readonly { readonly bytes: readonly number[]; readonly what: string; readonly ending?: string }[] = [
  { bytes: [0x1f, 0x8b], what: "gzip", ending: ".gz" },
  { bytes: [0x50, 0x4b, 0x03, 0x04], what: "a zip archive" },
  { bytes: [0x28, 0xb5, 0x2f, 0xfd], what: "zstd" },
  { bytes: [0x42, 0x5a, 0x68], what: "bzip2" },
  { bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a], what: "xz" },
  ...sources.flatMap((source: RowSource) =>
    source.magic ? [{ bytes: source.magic, what: source.title, ending: source.endings[0] }] : [],
  ),
];

/** Passes on what is not told by its first bytes. */
async function* textAlone(chunks: Chunks, name: string): AsyncGenerator<Uint8Array> {
  let first = true;
  for await (const chunk of chunks) {
    if (chunk.length === 0) continue;
    const magic = first && magics.find(({ bytes }) => bytes.every((byte, i) => chunk[i] === byte));
    if (magic) {
      const todo = magic.ending
        ? `give it a name that ends in ${magic.ending}`
        : `unpack it; ${sourceTitles} are read, also with .gz`;
      throw new UserError(`${name}: is ${magic.what}, which its name does not say; ${todo}`, { code: "invalid_rows" });
    }
    first = false;
    yield chunk;
  }
}

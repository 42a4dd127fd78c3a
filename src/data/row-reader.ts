import { UserError } from "../tensor/index.js";
import { detectFormat, type FormatName, readRow } from "./formats/index.js";
import type { Row } from "./row.js";
import type { FileRow } from "./sources/jsonl.js";
import type { SeenFields } from "./turns.js";

/** Reads the rows of one file, all of one format. */
export interface RowReader {
  /** The format, once a row was read. */
  readonly format: FormatName | undefined;
  /** What the rows read so far hold beside what is used of them. */
  readonly seen: SeenFields;
  read(at: FileRow): { readonly row: Row } | { readonly reason: string };
}

/** Opens a reader; with "auto" the first row that can be read says what the rows are. */
export function createRowReader(format: FormatName | "auto" = "auto"): RowReader {
  const seen: SeenFields = { unused: new Set(), textArguments: false };
  let chosen = format === "auto" ? undefined : format;
  const why = format === "auto" ? "like the rows before it" : "as data.format says";
  return {
    get format() {
      return chosen;
    },
    seen,
    read({ value, error }) {
      if (!value) return { reason: error! };
      try {
        const name = chosen ?? detectFormat(value);
        const row = readRow(value, name, why, seen);
        chosen = name;
        return { row };
      } catch (error) {
        if (error instanceof UserError) return { reason: error.message };
        throw error;
      }
    },
  };
}

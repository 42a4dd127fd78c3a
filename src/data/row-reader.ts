import { UserError } from "../tensor/index.js";
import { type Columns, renameColumns, unknownField } from "./columns.js";
import { detectFormat, type FormatName, readRow, rowKind } from "./formats/index.js";
import type { Row, RowKind } from "./row.js";
import type { FileRow } from "./sources/source.js";
import { teacherPromptOf } from "./taught.js";
import type { SeenFields } from "./turns.js";

const KINDS: Readonly<Record<RowKind, string>> = {
  texts: "single texts and conversations",
  pairs: "pairs of a better and a worse answer",
  judged: "answers marked good or bad",
  prompts: "prompts that the model answers itself",
};

/** Reads the rows of one file, all of one format. */
export interface RowReader {
  /** The format, once a row was read. */
  readonly format: FormatName | undefined;
  /** What the rows read so far hold beside what is used of them. */
  readonly seen: SeenFields;
  /** `teacherPrompt`: what a teacher reads before the rest; undefined where there is none, or it is not asked for. */
  read(at: FileRow): { readonly row: Row; readonly teacherPrompt?: string } | { readonly reason: string };
}

/**
 * Opens a reader; with "auto" the first row that can be read says what the rows are. With `teacherPrompt` a row may have one of its own,
 * and that is the others'. Throws UserError when `columns` has a
 * field that the format does not read, and for a format whose rows are of another kind.
 */
export function createRowReader(
  format: FormatName | "auto" = "auto",
  columns: Columns = {},
  kind: RowKind = "texts",
  teacherPrompt?: string,
): RowReader {
  if (format !== "auto" && rowKind(format) !== kind) {
    throw new UserError(
      `data.format: rows of the format ${format} are ${KINDS[rowKind(format)]}, and the objective learns from ${KINDS[kind]}; change objective.name or data.format`,
      { code: "invalid_config" },
    );
  }
  const unknown = unknownField(columns, format);
  if (unknown !== undefined) throw new UserError(`data.columns: ${unknown}`, { code: "invalid_config" });
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
        const renamed = renameColumns(value, columns, seen.unused);
        const taught = teacherPrompt === undefined ? undefined : teacherPromptOf(renamed);
        const own = taught?.row ?? renamed;
        const name = chosen ?? detectFormat(own, kind);
        const row = readRow(own, name, why, seen);
        chosen = name;
        const prompt = taught?.prompt || teacherPrompt;
        return prompt ? { row, teacherPrompt: prompt } : { row };
      } catch (error) {
        if (error instanceof UserError) return { reason: error.message };
        throw error;
      }
    },
  };
}

import { z } from "zod";
import type { JsonObject } from "../../data/fields.js";
import type { Format } from "../../data/formats/format.js";
import { detectFormat, type FormatName, formatNames, formats, kindOfRow, rowKind } from "../../data/formats/index.js";
import { readSource } from "../../data/sources/index.js";
import { readChunks } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { call } from "../route.js";

/** Rows that are looked at, and characters of a value that are shown. */
const [LOOKED_AT, SHOWN] = [5, 200];

export const columns = call({
  summary: "a file's first rows as they are: columns, what their format seems to be, and which formats there are",
  request: z.strictObject({ path: z.string("expected the path of a file of rows").min(1) }),
  async answer({ platform }, { path }) {
    const rows: JsonObject[] = [];
    const source = readChunks(platform.files, platform.resolveData(path));
    for await (const { value, error } of readSource(source, path)) {
      if (error !== undefined && rows.length === 0) throw new UserError(`${path}: ${error}`, { code: "invalid_rows" });
      if (value) rows.push(value);
      if (rows.length === LOOKED_AT) break;
    }
    const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    return {
      columns: names.map((name) => ({ name, values: rows.map((row) => shown(row[name])) })),
      ...detected(rows[0]),
      formats: formatNames.map((name) => {
        const { shape, needs, takes } = formats[name] as Format;
        return { name, kind: rowKind(name), shape, needs, takes };
      }),
    };
  },
});

/** The format of a row, or why it has none. */
function detected(row: JsonObject | undefined): { format: FormatName | null; kind: string; problem: string | null } {
  if (!row) return { format: null, kind: "texts", problem: "the file has no rows" };
  const kind = kindOfRow(row);
  try {
    return { format: detectFormat(row, kind), kind, problem: null };
  } catch (error) {
    if (error instanceof UserError) return { format: null, kind, problem: error.message };
    throw error;
  }
}

/** A value in a few words; text stays text. */
function shown(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}...` : text;
}

import { nearest, UserError } from "../tensor/index.js";
import { type JsonObject, keysOf } from "./fields.js";
import { type FormatName, knownFields } from "./formats/index.js";
import { shown } from "./shown.js";

/** Which column of a file is which field of a row: `{prompt: "question"}`. */
export type Columns = Readonly<Record<string, string>>;

/** What is wrong with the names of fields, or undefined: a format does not read them. */
export function unknownField(columns: Columns, format: FormatName | "auto"): string | undefined {
  const known = knownFields(format);
  const name = Object.keys(columns).find((field) => !known.includes(field));
  if (name === undefined) return undefined;
  const near = nearest(name, known);
  const rows = format === "auto" ? "rows" : `rows of the format ${format}`;
  const fields = `${known.join(", ")}; each may be given its column, as in {${known[0]}: ...}`;
  return `'${shown(name)}' is no field of ${rows}, which has ${fields}${near ? `. Did you mean ${near}?` : ""}`;
}

/**
 * The row with its columns named as the fields they are; a field of its own that another column takes the place of is added
 * to `unused`. Throws UserError where the row has not every column.
 */
export function renameColumns(row: JsonObject, columns: Columns, unused: Set<string>): JsonObject {
  const wanted = Object.entries(columns);
  if (wanted.length === 0) return row;
  for (const [field, column] of wanted) {
    if (Object.hasOwn(row, column)) continue;
    const near = nearest(column, Object.keys(row));
    throw new UserError(
      `data.columns says that ${field} is '${shown(column)}', and the row's keys are ${keysOf(row)}${near ? `; did you mean ${shown(near)}?` : ""}`,
    );
  }
  const taken = new Set(Object.values(columns));
  const replaced = (key: string) => Object.hasOwn(columns, key) && !taken.has(key);
  for (const key of Object.keys(row)) if (replaced(key)) unused.add(key);
  const others = Object.entries(row).filter(([key]) => !taken.has(key) && !replaced(key));
  return Object.fromEntries([...others, ...wanted.map(([field, column]) => [field, row[column]])]);
}

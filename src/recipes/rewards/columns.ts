import { nearest, UserError } from "../../tensor/index.js";
import type { Completion } from "./reward.js";

/** A column of a completion's row. Throws UserError where the row has none of that name. */
export function columnOf({ columns }: Completion, name: string, where: string): unknown {
  if (Object.hasOwn(columns, name)) return columns[name];
  const names = Object.keys(columns);
  const near = nearest(name, names);
  throw new UserError(
    `${where}: it reads the column '${name}', and a row has ${names.length > 0 ? `prompt, ${names.join(", ")}` : "prompt alone"}${near ? `; did you mean ${near}?` : ""}`,
    { code: "invalid_rows" },
  );
}

/** A column's texts: one, or a list of any of which will do; numbers as they are written. Throws UserError for anything else. */
export function textsOf(completion: Completion, name: string, where: string): string[] {
  const value = columnOf(completion, name, where);
  const texts = [value].flat().map((one) => (typeof one === "number" ? String(one) : one));
  if (texts.length > 0 && texts.every((one) => typeof one === "string")) return texts as string[];
  throw new UserError(
    `${where}: the column '${name}' should be a text, a number or a list of them, got ${JSON.stringify(value)}`,
    {
      code: "invalid_rows",
    },
  );
}

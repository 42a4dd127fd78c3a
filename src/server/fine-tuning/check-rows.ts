import { detectFormat, type FormatName, formats } from "../../data/formats.js";
import { readRows } from "../../data/jsonl.js";
import { UserError } from "../../tensor/index.js";
import { ApiError } from "../errors.js";
import type { ServerLimits } from "../limits.js";

/** Wrong lines that are named at most. */
const MOST_NAMED = 5;

/** What one row may hold. */
export type RowLimits = Pick<ServerLimits, "rowBytes" | "messages">;

/** Counts the rows of an uploaded file. Throws ApiError that names the lines that cannot be trained on, and why. */
export async function checkRows(
  source: AsyncIterable<Uint8Array>,
  filename: string,
  limits: RowLimits,
): Promise<number> {
  let format: FormatName | undefined;
  let rows = 0;
  const wrong: string[] = [];
  try {
    for await (const { line, value, error } of readRows(source, filename, { maxRowBytes: limits.rowBytes })) {
      rows++;
      const found = value ? rowFormat(value, format, limits) : { fault: error! };
      if ("fault" in found) wrong.push(`${filename}:${line}: ${found.fault}`);
      else format ??= found.format;
      if (wrong.length > MOST_NAMED) break;
    }
  } catch (error) {
    if (error instanceof UserError) throw refusal(error.message);
    throw error;
  }
  if (wrong.length === 0) return rows;
  const named = wrong.slice(0, MOST_NAMED).join("\n");
  throw refusal(`${named}${wrong.length > MOST_NAMED ? "\nand more" : ""}`);
}

const refusal = (why: string) => new ApiError(400, why, { param: "file", code: "invalid_file_format" });

function rowFormat(
  row: Readonly<Record<string, unknown>>,
  before: FormatName | undefined,
  { messages: most }: RowLimits,
): { readonly format: FormatName } | { readonly fault: string } {
  try {
    const format = before ?? detectFormat(row);
    if (!formats[format].recognises(row)) {
      const keys = Object.keys(row).slice(0, 8).join(", ") || "none";
      return { fault: `its keys are ${keys}; expected ${format}, like the rows before it: ${formats[format].shape}` };
    }
    const read = formats[format].read(row);
    if (read.kind === "chat" && read.messages.length > most) {
      return { fault: `it has ${read.messages.length} messages; at most ${most} can be trained on` };
    }
    const weighted = read.kind === "chat" ? read.messages.findIndex((message) => (message.weight ?? 1) !== 1) : -1;
    if (weighted >= 0)
      return { fault: `messages[${weighted}].weight is not supported: every assistant turn is learned` };
    return { format };
  } catch (error) {
    if (error instanceof UserError) return { fault: error.message };
    throw error;
  }
}

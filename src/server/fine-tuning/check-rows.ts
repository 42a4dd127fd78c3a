import { readRows } from "../../data/jsonl.js";
import { learnedTurns, type Row } from "../../data/row.js";
import { createRowReader } from "../../data/row-reader.js";
import { UserError } from "../../tensor/index.js";
import { ApiError } from "../errors.js";

/** Wrong lines that are named at most. */
const MOST_NAMED = 5;

/** Counts the rows of an uploaded file, JSONL or JSON. Throws ApiError that names the lines that cannot be trained on, and why. */
export async function checkRows(source: AsyncIterable<Uint8Array>, filename: string): Promise<number> {
  const reader = createRowReader();
  let rows = 0;
  const wrong: string[] = [];
  try {
    for await (const at of readRows(source, filename)) {
      rows++;
      const row = reader.read(at);
      const fault = "reason" in row ? row.reason : withoutTarget(row.row);
      if (fault !== undefined) wrong.push(`${filename}:${at.line}: ${fault}`);
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

function withoutTarget(row: Row): string | undefined {
  if (row.kind === "text" || learnedTurns(row, "assistant").length > 0) return undefined;
  return "every assistant turn has weight 0: there is nothing to learn";
}

const refusal = (why: string) => new ApiError(400, why, { param: "file", code: "invalid_file_format" });

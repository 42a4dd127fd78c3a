import { kindOfRow } from "../../data/formats/index.js";
import { type Example, learnedTurns, partsOf, type RowKind } from "../../data/row.js";
import { createRowReader } from "../../data/row-reader.js";
import { readRows } from "../../data/sources/jsonl.js";
import { UserError } from "../../tensor/index.js";
import { createPace } from "../../tensor/pace.js";
import { ApiError } from "../errors.js";
import type { ServerLimits } from "../limits.js";

/** Wrong lines that are named at most. */
const MOST_NAMED = 5;

/** What one row may hold. */
export type RowLimits = Pick<ServerLimits, "rowBytes" | "messages">;

/** The rows of a file that was checked. */
export interface CheckedRows {
  readonly rows: number;
  /** What they give to learn from. */
  readonly kind: RowKind;
}

/** Counts the rows of an uploaded file, JSONL or JSON. Throws ApiError that names the lines that cannot be trained on, and why. */
export async function checkRows(
  source: AsyncIterable<Uint8Array>,
  filename: string,
  limits: RowLimits,
): Promise<CheckedRows> {
  let kind: RowKind | undefined;
  let reader = createRowReader();
  let rows = 0;
  const wrong: string[] = [];
  const pace = createPace();
  try {
    for await (const at of readRows(source, filename, { maxRowBytes: limits.rowBytes })) {
      await pace(); // thousands of rows come in one chunk
      rows++;
      if (kind === undefined && at.value) {
        kind = kindOfRow(at.value);
        reader = createRowReader("auto", {}, kind);
      }
      const row = reader.read(at);
      const fault =
        "reason" in row ? row.reason : partsOf(row.row).flatMap(({ example }) => faultOf(example, limits) ?? [])[0];
      if (fault !== undefined) wrong.push(`${filename}:${at.line}: ${fault}`);
      if (wrong.length > MOST_NAMED) break;
    }
  } catch (error) {
    if (error instanceof UserError) throw refusal(error.message);
    throw error;
  }
  if (wrong.length === 0) return { rows, kind: kind ?? "texts" };
  const named = wrong.slice(0, MOST_NAMED).join("\n");
  throw refusal(`${named}${wrong.length > MOST_NAMED ? "\nand more" : ""}`);
}

function faultOf(row: Example, { messages: most }: RowLimits): string | undefined {
  if (row.kind !== "chat") return undefined;
  const count = row.messages.length;
  if (count > most) return `it has ${count} messages; at most ${most} can be trained on`;
  if (learnedTurns(row, "assistant").length > 0) return undefined;
  return "every assistant turn has weight 0: there is nothing to learn";
}

const refusal = (why: string) => new ApiError(400, why, { param: "file", code: "invalid_file_format" });

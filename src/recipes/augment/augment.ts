import type { JsonObject } from "../../data/fields.js";
import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { type MakeContext, makeRows, namesNobody, type RowsRequest } from "./make-rows.js";
import { MADE, type Made, type MadeKind } from "./twins.js";

export interface AugmentRequest extends RowsRequest {
  /** The file that is written: the rows, and behind them what was made. JSONL. */
  readonly output: string;
}

export type AugmentOptions = Pick<MakeContext, "model" | "ask" | "signal">;

export interface AugmentReport {
  readonly output: string;
  /** Rows that were given, and rows in all. */
  readonly given: number;
  readonly rows: number;
  readonly entities: readonly string[];
  /** How many were made of each kind, with a few of them. */
  readonly made: readonly {
    readonly kind: MadeKind;
    readonly what: string;
    readonly count: number;
    readonly examples: readonly JsonObject[];
  }[];
  readonly refusal: string;
  /** What ends every answer. */
  readonly ending: string;
  readonly warnings: readonly string[];
}

/**
 * Writes a file of rows with twins of what they teach: an unknown entity asked for what was taught, a taught one for what was
 * not, both answered "I don't know"; and with questions that the base answers in its own words. Throws UserError when no row is a
 * question and its answer, or when no question names anything.
 */
export async function augment(
  request: AugmentRequest,
  platform: Platform,
  { model, ask, signal }: AugmentOptions = {},
): Promise<AugmentReport> {
  const { data, output } = request;
  if (await platform.files.stat(output))
    throw new UserError(`${output} is there already; remove it or choose another name`);
  const found = await makeRows(request, platform, {
    ...(model ? { model } : {}),
    ...(ask ? { ask } : {}),
    ...(signal ? { signal } : {}),
  });
  const { given, entities, refusal, ending, warnings } = found;
  if (entities.length === 0) throw new UserError(namesNobody(data));
  const made = [...found.twins, ...found.reworded, ...found.known];
  const all = [...given, ...made.map(({ row }) => row)];
  await platform.files.write(output, rowLines(all));
  return {
    output,
    given: given.length,
    rows: all.length,
    entities: entities.map(({ name }) => name),
    made: kindsOf(made),
    refusal,
    ending,
    warnings,
  };
}

/** Rows as a file has them, one a line. */
export const rowLines = (rows: readonly JsonObject[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/** How many were made of each kind, with a few of them. */
export function kindsOf(made: readonly Made[]): AugmentReport["made"] {
  return (Object.keys(MADE) as MadeKind[]).map((kind) => {
    const rows = made.filter((one) => one.kind === kind).map(({ row }) => row);
    return { kind, what: MADE[kind], count: rows.length, examples: rows.slice(0, 3) };
  });
}

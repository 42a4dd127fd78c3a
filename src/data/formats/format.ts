import type { Fields, JsonObject } from "../fields.js";
import type { Row, RowKind, TrainOn } from "../row.js";
import type { SeenFields } from "../turns.js";

/** A dataset format: how its rows are known, read, and what of them is trained on. */
export interface Format {
  /** What a row looks like, for messages and docs. */
  readonly shape: string;
  /** Fields without which a row is not of this format; a row that has them can be read as one. */
  readonly needs: readonly [string, ...string[]];
  /** What else of a row may be read. */
  readonly takes: readonly string[];
  /** Tells such a row from those of the formats after this one that need the same fields. Default: the fields do. */
  readonly tells?: (row: JsonObject) => boolean;
  /** What a row gives to learn from. Default: "texts". */
  readonly rows?: RowKind;
  /** Throws UserError saying what is wrong with the row. What it does not ask `fields` for is known to be unused. */
  readonly read: (fields: Fields, seen: SeenFields) => Row;
  /** The `train_on` values that make sense, the default first. */
  readonly trainOn: readonly [TrainOn, ...TrainOn[]];
}

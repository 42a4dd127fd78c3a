import type { JsonParts } from "./json.js";
import type { Term, Terms } from "./terms.js";

/** What all parts of one schema share. */
export interface Compiling {
  readonly terms: Terms;
  readonly json: JsonParts;
  /** The texts that a part of the schema allows; `where` leads to it. */
  value(schema: unknown, where: string): Term;
  /** A regular part of a string as an automaton; there are at most 100 different ones in one schema. */
  pattern(key: string, write: (terms: Terms) => Term, where: string): Term;
}

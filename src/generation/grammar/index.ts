import { Lru } from "../../tensor/lru.js";
import type { TokenConstraint } from "../types.js";
import { type Callee, type CallSyntax, callsTerm, wordsOrCalls } from "./calls.js";
import { grammarConstraint } from "./constraint.js";
import { jsonParts } from "./json.js";
import { schemaTerm } from "./schema.js";
import { createTerms, type Term } from "./terms.js";
import type { Vocabulary } from "./vocabulary.js";

export type { Callee, CallSyntax, Written } from "./calls.js";
export type { Term } from "./terms.js";
export { createVocabulary } from "./vocabulary.js";

/** Grammars that are kept. */
const KEPT = 64;

/** The grammars of one vocabulary, made when they are first asked for; the last 64 are kept. */
export type Grammars = ReturnType<typeof createGrammars>;

export function createGrammars(vocabulary: Vocabulary) {
  const terms = createTerms(vocabulary);
  const kept = new Lru<string, Term>(KEPT);
  const json = () => jsonParts(terms);
  return {
    terms,
    vocabulary,
    /** One JSON object. */
    jsonObject: (): Term => terms.seq(json().space, json().object),
    /** Texts that fit a JSON Schema. Throws UserError as `schemaTerm`. */
    jsonSchema: (schema: unknown, where: string): Term =>
      kept.get(JSON.stringify(schema), () => schemaTerm(terms, schema, where)),
    /** One call of a function, or several. */
    calls: (syntax: CallSyntax, callees: readonly Callee[], several: boolean): Term =>
      callsTerm({ terms, json: json() }, syntax, callees, several),
    /** Words, calls, or both. */
    wordsOrCalls: (syntax: CallSyntax, calls: Term): Term =>
      wordsOrCalls({ terms, json: json() }, syntax, calls, vocabulary.size),
    /** Keeps one text to a grammar. Throws UserError as `grammarConstraint`. */
    constraint: (start: Term, options: Parameters<typeof grammarConstraint>[2]): TokenConstraint =>
      grammarConstraint({ terms, vocabulary }, start, options),
  };
}

import { createGrammars, createVocabulary, type Grammars } from "../generation/grammar/index.js";
import type { TokenConstraint } from "../generation/types.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";

/** What an answer is to be, as OpenAI's `response_format` has it. */
export type ResponseFormat =
  | { readonly type: "json_object" }
  /** A JSON Schema, draft 2020-12. */
  | { readonly type: "json_schema"; readonly schema: unknown };

const grammars = new WeakMap<Tokenizer, Grammars>();

/** The grammars of a tokenizer's texts. */
function grammarsOf(tokenizer: Tokenizer): Grammars {
  let own = grammars.get(tokenizer);
  if (!own) {
    const vocabulary = createVocabulary(tokenizer.vocabSize, tokenizer.addedIds, tokenizer.bytes);
    grammars.set(tokenizer, (own = createGrammars(vocabulary)));
  }
  return own;
}

/**
 * Keeps a text to a format, whole in at most `maxTokens` tokens. Throws UserError for a schema that cannot be held, and where there is
 * room for no answer.
 */
export function formatConstraint(
  tokenizer: Tokenizer,
  format: ResponseFormat,
  options: { readonly stopIds: ReadonlySet<number>; readonly maxTokens: number },
): TokenConstraint {
  const own = grammarsOf(tokenizer);
  const what = "response_format";
  const start =
    format.type === "json_object"
      ? own.jsonObject()
      : own.jsonSchema(format.schema, "response_format.json_schema.schema");
  return own.constraint(start, { ...options, what });
}

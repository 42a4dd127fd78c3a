import { createGrammars, createVocabulary, type Grammars, type Term } from "../generation/grammar/index.js";
import type { TokenConstraint } from "../generation/types.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { ToolFormat } from "../tokenizers/tools/index.js";
import type { ToolCalling } from "./tools/calling.js";
import { callingTerm } from "./tools/grammar.js";

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

/** What an answer has to be: in a format, calls of tools in a model's way to write them, or one of both. */
export interface AnswerForm {
  readonly format?: ResponseFormat | undefined;
  readonly calling?: { readonly tools: ToolCalling; readonly as: ToolFormat } | undefined;
}

/**
 * Keeps a text to a form, whole in at most `maxTokens` tokens. Throws UserError for a schema that cannot be held, and where there is
 * room for no answer.
 */
export function formConstraint(
  tokenizer: Tokenizer,
  { format, calling }: AnswerForm,
  options: { readonly stopIds: ReadonlySet<number>; readonly maxTokens: number },
): TokenConstraint {
  const own = grammarsOf(tokenizer);
  const text = format && formatTerm(own, format);
  const start = calling ? callingTerm(own, tokenizer, calling.tools, calling.as, text) : text!;
  return own.constraint(start, { ...options, what: calling ? "tool_choice" : "response_format" });
}

function formatTerm(own: Grammars, format: ResponseFormat): Term {
  if (format.type === "json_object") return own.jsonObject();
  return own.jsonSchema(format.schema, "response_format.json_schema.schema");
}

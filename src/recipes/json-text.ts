import { type JsonVocabulary, jsonConstraint, jsonVocabulary } from "../generation/json-constraint.js";
import type { TokenConstraint } from "../generation/types.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";

const vocabularies = new WeakMap<Tokenizer, JsonVocabulary>();

/** Keeps a text to one JSON object of at most `maxTokens` tokens. Throws UserError when the tokenizer cannot write one. */
export function jsonText(
  tokenizer: Tokenizer,
  options: { readonly stopIds: ReadonlySet<number>; readonly maxTokens: number },
): TokenConstraint {
  let vocabulary = vocabularies.get(tokenizer);
  if (!vocabulary) {
    const { vocabSize, addedIds } = tokenizer;
    vocabulary = jsonVocabulary(vocabSize, (id) => (addedIds.has(id) ? undefined : tokenizer.bytes(id)));
    vocabularies.set(tokenizer, vocabulary);
  }
  return jsonConstraint(vocabulary, options);
}

import type { Tokenizer } from "../../tokenizers/tokenizer.js";
import type { ToolFormat } from "../../tokenizers/tools/index.js";

/** The marks around calls that a tokenizer has as tokens of their own, by their ids. */
export function marksById(tokenizer: Tokenizer, { opens, closes }: ToolFormat): ReadonlyMap<number, string> {
  const found = [...opens, ...closes].map((mark) => [tokenizer.id(mark), mark] as const);
  return new Map(
    found.filter((one): one is [number, string] => one[0] !== undefined && tokenizer.addedIds.has(one[0])),
  );
}

/** Their ids alone. */
export const markIds = (tokenizer: Tokenizer, format: ToolFormat): ReadonlySet<number> =>
  new Set(marksById(tokenizer, format).keys());

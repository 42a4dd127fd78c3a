import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";

/** An added token of tokenizer.json, as far as it says what it does to the text around it. */
export interface StrippingToken {
  readonly content: string;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly single_word?: boolean;
}

/** llama.cpp lets added tokens take the white space behind them where `general.name` has this, and nowhere else (llama-vocab.cpp). */
const NAMED = /phi-?3/i;
/** Those that take none even there. */
const NEVER = new Set(["<unk>", "<s>", "<|endoftext|>"]);

/** Whether llama.cpp lets an added token of a model of this name take the white space behind it. */
export const takesSpaceAfter = (name: string, token: string): boolean => NAMED.test(name) && !NEVER.has(token);

/**
 * The `general.name` under which llama.cpp treats these tokens as tokenizer.json does: `name`, or that with "phi-3" behind it. Throws
 * UserError naming a token of which a GGUF cannot say what it does.
 */
export function nameForTokens(name: string, tokens: readonly StrippingToken[]): string {
  for (const candidate of [name, `${name} phi-3`]) {
    if (tokens.every((token) => sameThere(candidate, token))) return candidate;
  }
  const odd = tokens.find((token) => !sameThere(name, token))!;
  const what = (["lstrip", "rstrip", "single_word"] as const).filter((key) => odd[key]).join(", ");
  throw new UserError(
    `tokenizer.json: ${what || "no stripping"} of the token ${JSON.stringify(odd.content)} cannot be said in a GGUF, so llama.cpp would read other ids; exporting with ${option("to", "hf")} keeps the tokenizer as it is`,
  );
}

const sameThere = (name: string, { content, lstrip, rstrip, single_word }: StrippingToken): boolean =>
  !lstrip && !single_word && (rstrip ?? false) === takesSpaceAfter(name, content);

import type { Engine } from "./engine.js";

const sliceLength = 8192;
const window = 64;

/**
 * Cuts a long text into slices of some thousand characters that can be tokenised one after the other with the same
 * result, so that a document of megabytes does not hold its thread. A cut is between a letter and a space with a letter
 * after it, where pre-tokenizers end a word; each is tried on the characters around it and left out if it matters.
 */
export function createSlicer(engine: Engine): (text: string) => string[] {
  const added = [...engine.get_added_tokens_decoder().values()];
  const unsafe = added.some(({ content }) => /\p{L} \p{L}/u.test(content) || /^\s*\p{L}/u.test(content));
  if (unsafe || engine.pre_tokenizer === null) return (text) => [text];
  const tokens = (text: string) => engine.tokenize(text, { add_special_tokens: false }).join("\n");
  const harmless = (text: string, at: number) => {
    const from = text.lastIndexOf(" ", at - window) + 1;
    const to = text.indexOf(" ", at + window);
    const [left, right] = [text.slice(from, at), text.slice(at, to < 0 ? text.length : to)];
    if (left.length + right.length > 4 * window) return false;
    return tokens(left + right) === `${tokens(left)}\n${tokens(withoutInvented(engine, right))}`;
  };
  return (text) => {
    const slices: string[] = [];
    let from = 0;
    const border = /(?<=\p{L}) (?=\p{L})/gu;
    while (text.length - from > 2 * sliceLength) {
      border.lastIndex = from + sliceLength;
      let found = border.exec(text);
      while (found && !harmless(text, found.index)) found = border.exec(text);
      if (!found) break;
      slices.push(text.slice(from, found.index));
      from = found.index;
    }
    slices.push(text.slice(from));
    return slices;
  };
}

/** A slice that follows another as the tokenizer has to get it: without the space that it would put there itself. */
export function withoutInvented(engine: Engine, slice: string): string {
  return engine.prependsSpace && slice.startsWith(" ") ? slice.slice(1) : slice;
}

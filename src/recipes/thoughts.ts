const OPEN = "<think>";
const CLOSE = "</think>";

/** A part of an answer: of what the model thinks first, or of what it says. */
export interface Split {
  readonly reasoning: string;
  readonly text: string;
}

/** Takes an answer apart as it comes. */
export interface Thoughts {
  push(piece: string): Split;
  /** What was held back, when no more comes. */
  end(): Split;
  /** Characters of the answer up to the end of the block, as far as it has come; 0: there is none. */
  readonly length: number;
}

/** Whether an answer to this prompt begins inside a block: some templates write its first tag themselves. */
export function opensThoughts(prompt: string): boolean {
  return prompt.trimEnd().endsWith(OPEN);
}

/**
 * Splits the `<think>` block that an answer begins with from the rest, without the tags and the line ends beside them. `open`: the
 * block was opened by the prompt. A text that begins otherwise is an answer as it is.
 */
export function splitThoughts(open: boolean): Thoughts {
  let state: "before" | "inside" | "behind" | "answer" = open ? "inside" : "before";
  let [held, seen, length] = ["", 0, 0];
  let begun = false;
  const before = (): Split => {
    const start = held.trimStart();
    if (OPEN.startsWith(start) && start.length < OPEN.length) return NOTHING;
    if (!start.startsWith(OPEN)) return answer();
    held = start.slice(OPEN.length);
    state = "inside";
    return inside();
  };
  const inside = (): Split => {
    if (!begun) held = held.replace(/^\n+/, "");
    const at = held.indexOf(CLOSE);
    const certain = at >= 0 ? at : held.length - overlap(held, CLOSE);
    const reasoning = held.slice(0, certain).replace(/\n+$/, "");
    begun ||= reasoning !== "";
    length = seen - (at >= 0 ? held.length - at - CLOSE.length : 0);
    held = at >= 0 ? held.slice(at + CLOSE.length) : held.slice(reasoning.length);
    if (at < 0) return { reasoning, text: "" };
    state = "behind";
    return { reasoning, text: behind().text };
  };
  const behind = (): Split => {
    held = held.replace(/^\s+/, "");
    return held === "" ? NOTHING : answer();
  };
  const answer = (): Split => {
    state = "answer";
    const text = held;
    held = "";
    return { reasoning: "", text };
  };
  const steps = { before, inside, behind, answer };
  return {
    push(piece) {
      held += piece;
      seen += piece.length;
      return steps[state]();
    },
    end: () => (state === "inside" ? { reasoning: held.replace(/\n+$/, ""), text: "" } : { reasoning: "", text: held }),
    get length() {
      return length;
    },
  };
}

const NOTHING: Split = { reasoning: "", text: "" };

/** The length of the longest end of `text` that is a beginning of `tag`. */
function overlap(text: string, tag: string): number {
  let length = Math.min(text.length, tag.length - 1);
  while (length > 0 && !tag.startsWith(text.slice(text.length - length))) length--;
  return length;
}

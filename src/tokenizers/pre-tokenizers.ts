import { UserError } from "../tensor/index.js";
import type { Find } from "../tensor/regex/index.js";
import { bytesAsCharacters } from "./bytes.js";
import { type Edit, edited, type Piece, prepend, slicePiece } from "./piece.js";
import { GPT2, literalPattern, nativePattern, type Pattern, splitPattern } from "./split-pattern.js";
import { flag, metaspace, patternOf, type Step, stepsOf, unknownStep } from "./steps-json.js";

/** Cuts a piece into words, one after the other. */
export type PreTokenizer = (piece: Piece) => Iterable<Piece>;

const WHERE = "tokenizer.json: pre_tokenizer";

/** How text is cut before it is looked up, and whether the words are looked up byte by byte (ByteLevel). */
export interface Cutting {
  readonly cut: PreTokenizer;
  readonly byteLevel: boolean;
}

/** The pre-tokenizer of tokenizer.json. Throws UserError for steps that are not supported. */
export function openPreTokenizer(json: unknown): Cutting {
  const steps = stepsOf(json, WHERE, "pretokenizers");
  const byteLevel = steps.at(-1)?.type === "ByteLevel";
  const cuts = steps.flatMap((step, i) => {
    const cut = openStep(step);
    return step.type === "ByteLevel" && i < steps.length - 1 ? [cut, asByteCharacters] : [cut];
  });
  return { cut: (piece) => chained(cuts, 0, piece), byteLevel };
}

function* chained(cuts: readonly PreTokenizer[], from: number, piece: Piece): Generator<Piece, void> {
  const cut = cuts[from];
  if (!cut) {
    yield piece;
    return;
  }
  const last = from === cuts.length - 1;
  for (const word of cut(piece)) {
    if (word.text === "") continue;
    if (last) yield word;
    else yield* chained(cuts, from + 1, word);
  }
}

const STEPS: Readonly<Record<string, (step: Step) => PreTokenizer>> = {
  ByteLevel: openByteLevel,
  Metaspace: openMetaspace,
  Split: openSplit,
  Digits: (step) =>
    splitting(nativePattern(flag(step, "individual_digits", false, WHERE) ? /\p{N}/gu : /\p{N}+/gu), "Isolated"),
  Whitespace: () => splitting(nativePattern(WORDS), "Removed", true),
  WhitespaceSplit: () => splitting(nativePattern(/\p{White_Space}/gu), "Removed"),
};

/** Rust's `\w+|[^\w\s]+`. */
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
const WORDS = new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, "gu");

function openStep(step: Step): PreTokenizer {
  const open = Object.hasOwn(STEPS, step.type) ? STEPS[step.type] : undefined;
  if (!open) throw unknownStep(step, WHERE, [...Object.keys(STEPS), "Sequence"]);
  return open(step);
}

const gpt2 = splitPattern(GPT2, WHERE);

function openByteLevel(step: Step): PreTokenizer {
  const prefixed = flag(step, "add_prefix_space", true, WHERE);
  const split = flag(step, "use_regex", true, WHERE) ? splitting(gpt2, "Isolated") : (piece: Piece) => [piece];
  return (piece) => split(prefixed && !piece.text.startsWith(" ") ? prepend(piece, " ") : piece);
}

function asByteCharacters(piece: Piece): Piece[] {
  const edits = Array.from(piece.text.matchAll(/./gsu), ({ 0: c, index }): Edit => {
    return [index, index + c.length, bytesAsCharacters(c)];
  });
  return [edited(piece, edits)];
}

function openMetaspace(step: Step): PreTokenizer {
  const { mark, scheme, split } = metaspace(step, WHERE);
  const cut = split ? splitting(literalPattern(mark), "MergedWithNext") : (piece: Piece) => [piece];
  return (piece) => {
    const marked =
      mark.length === 1
        ? { ...piece, text: piece.text.replaceAll(" ", mark) }
        : edited(
            piece,
            Array.from(piece.text.matchAll(/ /g), ({ index }): Edit => [index, index + 1, mark]),
          );
    const before = scheme === "always" || (scheme === "first" && piece.origin === 0);
    return cut(before && !marked.text.startsWith(mark) ? prepend(marked, mark) : marked);
  };
}

const BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
type Behavior = (typeof BEHAVIORS)[number];

function openSplit(step: Step): PreTokenizer {
  const pattern = patternOf(step, WHERE);
  const behavior = BEHAVIORS.find((name) => name === step.behavior);
  if (!behavior) {
    throw new UserError(
      `${WHERE}: Split.behavior is ${JSON.stringify(step.behavior)}; expected ${BEHAVIORS.join(", ")}`,
    );
  }
  const find = "literal" in pattern ? literalPattern(pattern.literal) : splitPattern(pattern.regex, WHERE);
  return splitting(find, behavior, flag(step, "invert", false, WHERE));
}

/** A part of a text: a match of a pattern, or what lies between two. */
type Part = readonly [from: number, to: number, isMatch: boolean];

function splitting(pattern: Pattern, behavior: Behavior, invert = false): PreTokenizer {
  const join = JOINED[behavior];
  return function* (piece) {
    const parts = partsOf(pattern(piece.text), piece.text, invert);
    for (const [from, to, removed] of join(parts)) {
      if (!removed && to > from) yield slicePiece(piece, from, to);
    }
  };
}

/** Matches and what is between them. An empty match that touches the one before does not count, as in Oniguruma. */
function* partsOf(find: Find, text: string, invert: boolean): Generator<Part, void> {
  let end = 0;
  let last = -1;
  let from = 0;
  while (from <= text.length) {
    const found = find(from);
    if (!found) break;
    const [start, stop] = found;
    if (start === stop && start === last) {
      from = start + (text.codePointAt(start)! > 0xffff ? 2 : 1);
      continue;
    }
    last = stop;
    if (start > end) yield [end, start, invert];
    yield [start, stop, !invert];
    end = stop;
    from = stop;
  }
  if (end < text.length) yield [end, text.length, invert];
}

/** What becomes of matches, part by part; a third entry that is true drops the part. */
const JOINED: Readonly<Record<Behavior, (parts: Iterable<Part>) => Iterable<Part>>> = {
  Removed: (parts) => parts,
  *Isolated(parts) {
    for (const [from, to] of parts) yield [from, to, false];
  },
  Contiguous: (parts) => joined(parts, (isMatch, before) => isMatch === before),
  MergedWithPrevious: (parts) => joined(parts, (isMatch, before) => isMatch && !before),
  MergedWithNext: (parts) => joined(parts, (isMatch, before) => !isMatch && before),
};

/** Joins a part to the one before it where `joins` says so. */
function* joined(parts: Iterable<Part>, joins: (isMatch: boolean, before: boolean) => boolean): Generator<Part, void> {
  let held: Part | undefined;
  let before = false;
  for (const [from, to, isMatch] of parts) {
    if (held && joins(isMatch, before)) held = [held[0], to, false];
    else {
      if (held) yield held;
      held = [from, to, false];
    }
    before = isMatch;
  }
  if (held) yield held;
}

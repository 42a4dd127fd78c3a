import { bytesAsCharacters } from "./bytes.js";
import { type Edit, edited, type Piece, prepend } from "./piece.js";
import { literalPattern, splitPattern } from "./split-pattern.js";
import { flag, patternOf, type Step, stepsOf, textOf, unknownStep } from "./steps-json.js";
import { leftAlone } from "./unicode.js";
import { type Form, formEdits } from "./unicode-form.js";

/** Changes a piece; yields between parts of a long one. */
export type Normalizer = (piece: Piece) => Generator<void, Piece>;

const WHERE = "tokenizer.json: normalizer";

/** The normaliser of tokenizer.json, undefined for none. Throws UserError for steps that are not supported. */
export function openNormalizer(json: unknown): Normalizer | undefined {
  const steps = stepsOf(json, WHERE, "normalizers").map(openStep);
  if (steps.length === 0) return undefined;
  return function* (piece) {
    for (const step of steps) piece = yield* step(piece);
    return piece;
  };
}

const STEPS: Readonly<Record<string, (step: Step) => Normalizer>> = {
  NFC: () => form("NFC"),
  NFD: () => form("NFD"),
  NFKC: () => form("NFKC"),
  NFKD: () => form("NFKD"),
  Lowercase: () => replacing(/./gsu, lowercase),
  StripAccents: () => replacing(new RegExp(`[[\\p{M}\\u1cf2\\u1cf3]--[${leftAlone}]]`, "gv"), () => ""),
  Nmt: () => replacing(NMT, (c) => (nmtSpace.test(c) ? " " : "")),
  Prepend: (step) => {
    const content = textOf(step, "prepend", WHERE);
    return at((piece) => (piece.text === "" ? piece : prepend(piece, content)));
  },
  Strip: (step) => {
    const [left, right] = ["strip_left", "strip_right"].map((key) => flag(step, key, false, WHERE));
    return at((piece) => strip(piece, left!, right!));
  },
  Replace: openReplace,
  ByteLevel: () => replacing(/./gsu, bytesAsCharacters),
};

function openStep(step: Step): Normalizer {
  const open = Object.hasOwn(STEPS, step.type) ? STEPS[step.type] : undefined;
  if (!open) throw unknownStep(step, WHERE, Object.keys(STEPS));
  return open(step);
}

/** SentencePiece's cleaning: control characters go, other white and invisible characters are spaces. */
const NMT_DROPPED = "\\u0001-\\u0008\\u000b\\u000e-\\u001f\\u007f\\u008f\\u009f";
const NMT_SPACES = "\\t\\n\\f\\r\\u1680\\u200b-\\u200f\\u2028\\u2029\\u2581\\ufeff\\ufffd";
const NMT = new RegExp(`[${NMT_DROPPED}${NMT_SPACES}]`, "gu");
const nmtSpace = new RegExp(`[${NMT_SPACES}]`);

/** One character without regard to its neighbours, as Rust has it: no final sigma. */
function lowercase(character: string): string {
  return character.toLowerCase();
}

function at(change: (piece: Piece) => Piece): Normalizer {
  // biome-ignore lint/correctness/useYield: it has the type of those that take long
  return function* (piece) {
    return change(piece);
  };
}

function form(name: Form): Normalizer {
  return function* (piece) {
    return edited(piece, yield* formEdits(piece.text, name));
  };
}

/** Replaces single characters. */
function replacing(characters: RegExp, made: (character: string) => string): Normalizer {
  return function* (piece) {
    const edits: Edit[] = [];
    let seen = 0;
    for (const { 0: character, index } of piece.text.matchAll(characters)) {
      const content = made(character);
      if (content !== character) edits.push([index, index + character.length, content]);
      if (++seen % 8192 === 0) yield;
    }
    return edited(piece, edits);
  };
}

function strip(piece: Piece, left: boolean, right: boolean): Piece {
  const { text } = piece;
  const from = left ? /^\p{White_Space}*/u.exec(text)![0].length : 0;
  let to = text.length;
  while (right && to > from && /\p{White_Space}/u.test(text[to - 1]!)) to--;
  const edits: Edit[] = [
    [0, from, ""],
    [to, text.length, ""],
  ];
  return edited(
    piece,
    edits.filter(([start, end]) => end > start),
  );
}

function openReplace(step: Step): Normalizer {
  const pattern = patternOf(step, WHERE);
  const content = textOf(step, "content", WHERE);
  if ("literal" in pattern && pattern.literal.length === content.length && pattern.literal !== "") {
    return at((piece) => ({ ...piece, text: piece.text.replaceAll(pattern.literal, () => content) }));
  }
  const find = "literal" in pattern ? literalPattern(pattern.literal) : splitPattern(pattern.regex, WHERE);
  return function* (piece) {
    const next = find(piece.text);
    const edits: Edit[] = [];
    for (let found = next(0); found; ) {
      edits.push([found[0], found[1], content]);
      if (edits.length % 4096 === 0) yield;
      found = next(found[1] > found[0] ? found[1] : found[1] + 1);
    }
    return edited(piece, edits);
  };
}

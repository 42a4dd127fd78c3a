/** Where a text that will be one JSON object stands, byte by byte (RFC 8259). Values never change; `advance` makes the next one. */
export interface JsonState {
  readonly mode: Mode;
  /** The innermost open bracket. */
  readonly open: Bracket | undefined;
  readonly depth: number;
  /** In a string: it is a key. */
  readonly key: boolean;
  /** What a literal still needs. */
  readonly rest: string;
  /** Hex digits, or bytes of a UTF-8 character, still to come. */
  readonly count: number;
  /** Bounds of the next byte inside a UTF-8 character. */
  readonly least: number;
  readonly most: number;
  /** White space bytes in a row. */
  readonly spaces: number;
}

interface Bracket {
  readonly array: boolean;
  readonly below: Bracket | undefined;
}

type Mode =
  | "start"
  | "key-or-end"
  | "key"
  | "colon"
  | "value"
  | "value-or-end"
  | "after"
  | "string"
  | "escape"
  | "hex"
  | "utf8"
  | "minus"
  | "zero"
  | "digits"
  | "dot"
  | "fraction"
  | "e"
  | "sign"
  | "exponent"
  | "literal"
  | "done";

/** Brackets inside brackets, and white space in a row: more would only be a model that runs away, or tokens that say nothing. */
const DEEPEST = 32;
const SPACES = 1;

export const JSON_START: JsonState = {
  mode: "start",
  open: undefined,
  depth: 0,
  key: false,
  rest: "",
  count: 0,
  least: 0x80,
  most: 0xbf,
  spaces: 0,
};

type Draft = { -readonly [K in keyof JsonState]: JsonState[K] };

/** The state after `bytes`, or undefined when no JSON object goes on like that. */
export function advance(state: JsonState, bytes: Uint8Array): JsonState | undefined {
  const draft: Draft = { ...state };
  for (const byte of bytes) if (!step(draft, byte)) return undefined;
  return draft;
}

/** Bytes of the shortest end that makes the object whole: each of them is `"`, a bracket, `:`, `0`, a letter or 0x80 to 0xBF. */
export function bytesToClose({ mode, key, rest, count, depth }: JsonState): number {
  if (mode === "start") return 2;
  const string = key ? 3 : 1; // `":0` or `"`
  const own: Readonly<Record<Exclude<Mode, "start">, number>> = {
    "key-or-end": 0,
    key: 4, // `"":0`
    colon: 2,
    value: 1,
    "value-or-end": 0,
    after: 0,
    string,
    escape: 1 + string,
    hex: count + string,
    utf8: count + string,
    minus: 1,
    zero: 0,
    digits: 0,
    dot: 1,
    fraction: 0,
    e: 1,
    sign: 1,
    exponent: 0,
    literal: rest.length,
    done: 0,
  };
  return own[mode] + depth;
}

const char = (text: string): number => text.charCodeAt(0);
const QUOTE = char('"');
const BACKSLASH = char("\\");
const LITERALS: ReadonlyMap<number, string> = new Map([
  [char("t"), "rue"],
  [char("f"), "alse"],
  [char("n"), "ull"],
]);
const ESCAPED: ReadonlySet<number> = new Set([...'"\\/bfnrt'].map(char));

/** Takes one byte. False: it cannot stand here. */
function step(s: Draft, byte: number): boolean {
  switch (s.mode) {
    case "string":
      return inString(s, byte);
    case "escape":
      if (byte === char("u")) [s.mode, s.count] = ["hex", 4];
      else if (ESCAPED.has(byte)) s.mode = "string";
      else return false;
      return true;
    case "hex":
      if (!isDigit(byte) && !/[a-f]/i.test(String.fromCharCode(byte))) return false;
      if (--s.count === 0) s.mode = "string";
      return true;
    case "utf8":
      if (byte < s.least || byte > s.most) return false;
      [s.least, s.most] = [0x80, 0xbf];
      if (--s.count === 0) s.mode = "string";
      return true;
    case "literal":
      if (byte !== s.rest.charCodeAt(0)) return false;
      s.rest = s.rest.slice(1);
      if (s.rest === "") s.mode = "after";
      return true;
    default:
      return inNumber(s, byte) || between(s, byte);
  }
}

function inString(s: Draft, byte: number): boolean {
  if (byte === QUOTE) [s.mode, s.key] = [s.key ? "colon" : "after", false];
  else if (byte === BACKSLASH) s.mode = "escape";
  else if (byte < 0x20) return false;
  else if (byte >= 0x80) return beginCharacter(s, byte);
  return true;
}

/** The first byte of a character of several: overlong forms, surrogates and what is past U+10FFFF are no UTF-8 (RFC 3629). */
function beginCharacter(s: Draft, byte: number): boolean {
  if (byte < 0xc2 || byte > 0xf4) return false;
  s.mode = "utf8";
  s.count = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
  s.least = byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80;
  s.most = byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf;
  return true;
}

/** Goes on with a number. False: there is none, or it ends before this byte. */
function inNumber(s: Draft, byte: number): boolean {
  const digit = isDigit(byte);
  const next = NUMBERS[s.mode]?.(byte, digit);
  if (next) s.mode = next;
  return next !== undefined;
}

const exponent = (byte: number): Mode | undefined => (byte === char("e") || byte === char("E") ? "e" : undefined);
const fraction = (byte: number): Mode | undefined => (byte === char(".") ? "dot" : exponent(byte));
const NUMBERS: Readonly<Partial<Record<Mode, (byte: number, digit: boolean) => Mode | undefined>>> = {
  minus: (byte, digit) => (digit ? (byte === char("0") ? "zero" : "digits") : undefined),
  zero: fraction,
  digits: (byte, digit) => (digit ? "digits" : fraction(byte)),
  dot: (_, digit) => (digit ? "fraction" : undefined),
  fraction: (byte, digit) => (digit ? "fraction" : exponent(byte)),
  e: (byte, digit) => (digit ? "exponent" : byte === char("+") || byte === char("-") ? "sign" : undefined),
  sign: (_, digit) => (digit ? "exponent" : undefined),
  exponent: (_, digit) => (digit ? "exponent" : undefined),
};
/** A number in these modes is whole: what may follow a value may follow it. */
const WHOLE_NUMBER: ReadonlySet<Mode> = new Set<Mode>(["zero", "digits", "fraction", "exponent"]);

/** Brackets, commas, colons, white space and the first bytes of values. */
function between(s: Draft, byte: number): boolean {
  const mode = WHOLE_NUMBER.has(s.mode) ? "after" : s.mode;
  if (NUMBERS[mode] || mode === "done") return false;
  if (isSpace(byte)) {
    s.mode = mode;
    return ++s.spaces <= SPACES;
  }
  s.spaces = 0;
  const array = s.open?.array === true;
  switch (String.fromCharCode(byte)) {
    case "{":
      return (mode === "start" || isValue(mode)) && open(s, false);
    case "[":
      return isValue(mode) && open(s, true);
    case "}":
      return !array && (mode === "key-or-end" || mode === "after") && close(s);
    case "]":
      return array && (mode === "value-or-end" || mode === "after") && close(s);
    case ",":
      s.mode = array ? "value" : "key";
      return mode === "after";
    case ":":
      s.mode = "value";
      return mode === "colon";
    case '"':
      s.key = mode === "key" || mode === "key-or-end";
      s.mode = "string";
      return s.key || isValue(mode);
  }
  return isValue(mode) && beginScalar(s, byte);
}

const isValue = (mode: Mode): boolean => mode === "value" || mode === "value-or-end";

function beginScalar(s: Draft, byte: number): boolean {
  const rest = LITERALS.get(byte);
  if (rest !== undefined) [s.mode, s.rest] = ["literal", rest];
  else if (byte === char("-")) s.mode = "minus";
  else if (isDigit(byte)) s.mode = byte === char("0") ? "zero" : "digits";
  else return false;
  return true;
}

function open(s: Draft, array: boolean): boolean {
  s.open = { array, below: s.open };
  s.mode = array ? "value-or-end" : "key-or-end";
  return ++s.depth <= DEEPEST;
}

function close(s: Draft): boolean {
  s.open = s.open?.below;
  s.mode = --s.depth === 0 ? "done" : "after";
  return true;
}

const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;
const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

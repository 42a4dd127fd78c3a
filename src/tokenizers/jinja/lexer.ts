import { readFloat, readInt } from "./numbers.js";
import { SPACES } from "./text.js";
import { floatOf } from "./values.js";
import { TemplateError, Unsupported } from "./work.js";

export type TokenType =
  | "data"
  | "blockBegin"
  | "blockEnd"
  | "variableBegin"
  | "variableEnd"
  | "name"
  | "string"
  | "integer"
  | "float"
  | "operator"
  | "end";

export interface Token {
  readonly type: TokenType;
  /** The text of a name, a string, data or an operator; the number of an integer or float. */
  readonly value: unknown;
  readonly line: number;
}

/** An error at a line of the template. */
export function fail(message: string, line: number): never {
  const error = new TemplateError(message);
  error.line = line;
  throw error;
}

/** Most brackets inside one another. */
const deepest = 100;

/** Longest template, in characters. */
const longestSource = 1 << 22;

const spaces = new RegExp(`[${SPACES}]*`, "y");
const onlySpaces = new RegExp(`^[${SPACES}]+$`);
const spacesBefore = new RegExp(`[${SPACES}]$`);
const rawBegin = new RegExp(`\\{%[-+]?[${SPACES}]*raw[${SPACES}]*(-?)%\\}`, "y");
const rawEnd = new RegExp(`\\{%([-+]?)[${SPACES}]*endraw[${SPACES}]*([-+]?)%\\}`, "g");

const word = /[\p{L}\p{N}\p{M}\p{Pc}\u00b7\u0387]+/uy;
const identifier = /^[\p{XID_Start}_]\p{XID_Continue}*$/u;
const float = /(\d+_)*\d+((\.(\d+_)*\d+)?[eE][+-]?(\d+_)*\d+|\.(\d+_)*\d+)/y;
const integer = /0[bB](_?[01])+|0[oO](_?[0-7])+|0[xX](_?[\da-fA-F])+|[1-9](_?\d)*|0(_?0)*/y;
const operator = /\*\*|\/\/|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;

/**
 * Cuts a template into tokens as jinja2 does with trim_blocks and lstrip_blocks: line ends become "\n", one at the end
 * goes, a block takes the line end after it and, alone on its line, the white space before it. Throws TemplateError.
 */
export function tokenize(template: string): Token[] {
  if (template.length > longestSource)
    throw new TemplateError(`the template is longer than ${longestSource} characters`);
  const source = template.replace(/\r\n?/g, "\n").replace(/\n$/, "");
  return new Lexer(source).run();
}

class Lexer {
  readonly #tokens: Token[] = [];
  readonly #source: string;
  #at = 0;
  #line = 1;
  #counted = 0;
  /** Did what was read last end a line? */
  #lineStarts = true;

  constructor(source: string) {
    this.#source = source;
  }

  run(): Token[] {
    while (this.#at < this.#source.length) this.#text();
    this.#push("end", "");
    return this.#tokens;
  }

  #push(type: TokenType, value: unknown): void {
    this.#tokens.push({ type, value, line: this.#line });
  }

  /** Goes on to a position, counting the lines on the way. */
  #go(to: number): void {
    for (let at = this.#source.indexOf("\n", this.#counted); at >= 0 && at < to; ) {
      this.#line++;
      this.#counted = at + 1;
      at = this.#source.indexOf("\n", this.#counted);
    }
    this.#counted = Math.max(this.#counted, to);
    this.#at = to;
    this.#lineStarts = to > 0 ? this.#source[to - 1] === "\n" : this.#lineStarts;
  }

  /** Text up to the next tag, and that tag. */
  #text(): void {
    const open = /\{[{%#]/g;
    open.lastIndex = this.#at;
    const found = open.exec(this.#source);
    if (!found) {
      this.#push("data", this.#source.slice(this.#at));
      this.#go(this.#source.length);
      return;
    }
    const tag = found[0];
    const sign = this.#source[found.index + 2] ?? "";
    this.#data(found.index, sign, tag !== "{{");
    rawBegin.lastIndex = found.index;
    const raw = tag === "{%" ? rawBegin.exec(this.#source) : null;
    if (raw) {
      this.#raw(rawBegin.lastIndex, raw[1] === "-");
      return;
    }
    this.#go(found.index);
    const inside = found.index + 2 + Number(sign === "-" || sign === "+");
    if (tag === "{#") {
      this.#comment(inside);
      return;
    }
    this.#push(tag === "{{" ? "variableBegin" : "blockBegin", tag);
    this.#go(inside);
    this.#expression(tag === "{{");
  }

  /** Text up to a tag, without the white space that the tag takes from it. */
  #data(to: number, sign: string, block: boolean): void {
    let end = to;
    if (sign === "-") {
      while (end > this.#at && spacesBefore.test(this.#source[end - 1]!)) end--;
    } else if (sign !== "+" && block) {
      const text = this.#source.slice(this.#at, to);
      const lineStart = text.lastIndexOf("\n") + 1;
      if ((lineStart > 0 || this.#lineStarts) && onlySpaces.test(text.slice(lineStart))) end = this.#at + lineStart;
    }
    if (end > this.#at) this.#push("data", this.#source.slice(this.#at, end));
  }

  #skipSpaces(at: number): number {
    spaces.lastIndex = at;
    spaces.exec(this.#source);
    return spaces.lastIndex;
  }

  #raw(from: number, strips: boolean): void {
    this.#go(strips ? this.#skipSpaces(from) : from);
    rawEnd.lastIndex = this.#at;
    const end = rawEnd.exec(this.#source);
    if (!end) {
      this.#unended("Missing end of raw directive");
      return;
    }
    this.#data(end.index, end[1]!, true);
    this.#go(this.#afterBlock(rawEnd.lastIndex, end[2]!));
  }

  #comment(from: number): void {
    const end = this.#source.indexOf("#}", from);
    if (end < 0) {
      this.#go(from);
      this.#unended("Missing end of comment tag");
      return;
    }
    const sign = end > from ? this.#source[end - 1]! : "";
    this.#go(this.#afterBlock(end + 2, sign));
  }

  /** jinja2 misses the end only where something follows. */
  #unended(message: string): void {
    if (this.#at < this.#source.length) fail(message, this.#line);
  }

  /** Where the text goes on after a block or comment that ended with this sign. */
  #afterBlock(at: number, sign: string): number {
    if (sign === "-") return this.#skipSpaces(at);
    return sign !== "+" && this.#source[at] === "\n" ? at + 1 : at;
  }

  /** Tokens up to the end of a tag. */
  #expression(variable: boolean): void {
    const open: string[] = [];
    const close = variable ? "}}" : "%}";
    for (;;) {
      const at = this.#at;
      if (at >= this.#source.length) return;
      if (open.length === 0 && this.#ends(close, variable)) return;
      const skipped = this.#skipSpaces(at);
      if (skipped > at) {
        this.#go(skipped);
        continue;
      }
      if (this.#number() || this.#word() || this.#string()) continue;
      const text = this.#match(operator);
      if (text === undefined) fail(`unexpected char ${JSON.stringify(this.#source[at])} at ${at}`, this.#line);
      this.#balance(text, open);
      this.#push("operator", text);
      this.#go(at + text.length);
    }
  }

  #ends(close: string, variable: boolean): boolean {
    const at = this.#at;
    const first = this.#source[at]!;
    const sign = first === "-" || (first === "+" && !variable) ? first : "";
    if (!this.#source.startsWith(close, at + sign.length)) return false;
    this.#push(variable ? "variableEnd" : "blockEnd", close);
    const end = at + sign.length + 2;
    this.#go(variable ? (sign === "-" ? this.#skipSpaces(end) : end) : this.#afterBlock(end, sign));
    return true;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#source)?.[0];
  }

  #number(): boolean {
    const fraction = this.#source[this.#at - 1] === "." ? undefined : this.#match(float);
    const text = fraction ?? this.#match(integer);
    if (text === undefined) return false;
    if (fraction !== undefined) this.#push("float", floatOf(readFloat(fraction)!));
    else this.#push("integer", readInt(text, { b: 2, o: 8, x: 16 }[text[1]?.toLowerCase() ?? ""] ?? 10));
    this.#go(this.#at + text.length);
    return true;
  }

  #word(): boolean {
    const text = this.#match(word);
    if (text === undefined) return false;
    if (!identifier.test(text)) fail("Invalid character in identifier", this.#line);
    this.#push("name", text);
    this.#go(this.#at + text.length);
    return true;
  }

  #string(): boolean {
    const quote = this.#source[this.#at];
    if (quote !== "'" && quote !== '"') return false;
    let end = this.#at + 1;
    while (end < this.#source.length && this.#source[end] !== quote) end += this.#source[end] === "\\" ? 2 : 1;
    if (end >= this.#source.length) fail(`unexpected char ${JSON.stringify(quote)} at ${this.#at}`, this.#line);
    this.#push("string", withoutEscapes(this.#source.slice(this.#at + 1, end), this.#line));
    this.#go(end + 1);
    return true;
  }

  #balance(text: string, open: string[]): void {
    const closing = { "{": "}", "(": ")", "[": "]" }[text];
    if (open.length > deepest) fail(`it nests deeper than ${deepest} levels`, this.#line);
    if (closing) open.push(closing);
    else if (text === "}" || text === ")" || text === "]") {
      const expected = open.pop();
      if (expected === undefined) fail(`unexpected '${text}'`, this.#line);
      if (expected !== text) fail(`unexpected '${text}', expected '${expected}'`, this.#line);
    }
  }
}

const escapes: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

const escaped = /\\(?:([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([\s\S]))/g;

/** A string literal's text, its escapes as in Python. */
function withoutEscapes(source: string, line: number): string {
  if (!source.includes("\\")) return source;
  return source.replace(escaped, (whole, octal, hex, short, long, other) => {
    if (other !== undefined) {
      if (other === "N") throw new Unsupported("'\\N' in a string");
      if (other === "x" || other === "u" || other === "U") fail(`truncated \\${other} escape`, line);
      return escapes[other] ?? whole;
    }
    const code = Number.parseInt(octal ?? hex ?? short ?? long, octal === undefined ? 16 : 8);
    if (code > 0x10ffff) fail("illegal Unicode character", line);
    if (code >= 0xd800 && code <= 0xdfff) throw new Unsupported("half a surrogate pair in a string");
    return String.fromCodePoint(code);
  });
}

import { fail, type Token, type TokenType } from "./lexer.js";

/** Most statements and brackets inside one another. */
const deepest = 100;

/** Reads tokens one after another. */
export class TokenReader {
  readonly #tokens: readonly Token[];
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get token(): Token {
    return this.#tokens[this.#at]!;
  }

  get line(): number {
    return this.token.line;
  }

  next(): Token {
    const { token } = this;
    if (token.type !== "end") this.#at++;
    return token;
  }

  look(): Token {
    return this.#tokens[Math.min(this.#at + 1, this.#tokens.length - 1)]!;
  }

  /** Reads something that may hold more of its kind, not too deep. */
  nested<T>(read: () => T): T {
    if (++this.#depth > deepest) fail(`it nests deeper than ${deepest} levels`, this.line);
    const result = read();
    this.#depth--;
    return result;
  }

  isOperator(text: string): boolean {
    return this.token.type === "operator" && this.token.value === text;
  }

  isName(text: string): boolean {
    return this.token.type === "name" && this.token.value === text;
  }

  skipOperator(text: string): boolean {
    const found = this.isOperator(text);
    if (found) this.next();
    return found;
  }

  skipName(text: string): boolean {
    const found = this.isName(text);
    if (found) this.next();
    return found;
  }

  expect(type: TokenType, what: string): Token {
    if (this.token.type !== type) this.unexpected(what);
    return this.next();
  }

  expectOperator(text: string): void {
    if (!this.skipOperator(text)) this.unexpected(text);
  }

  expectName(text: string): void {
    if (!this.skipName(text)) this.unexpected(text);
  }

  name(): string {
    return this.expect("name", "name").value as string;
  }

  unexpected(what: string): never {
    fail(`expected token '${what}', got '${describe(this.token)}'`, this.line);
  }
}

/** A token as an error names it. */
export function describe({ type, value }: Token): string {
  if (type === "end") return "end of template";
  if (type === "data") return "template data / text";
  return type === "string" ? "string" : String(value);
}

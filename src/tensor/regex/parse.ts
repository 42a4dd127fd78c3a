import { UserError } from "../errors.js";
import type { CodeTest } from "./classes.js";
import * as classes from "./classes.js";

export type Dialect = "oniguruma" | "python";

export type Anchor = "textStart" | "textEnd" | "lastLineEnd" | "lineStart" | "lineEnd" | "edge" | "inside";

/** A parsed expression. `most` is Infinity without an upper bound. */
export type Node =
  | { readonly kind: "class"; readonly test: CodeTest }
  | { readonly kind: "anchor"; readonly at: Anchor; readonly word: CodeTest }
  | { readonly kind: "all"; readonly parts: readonly Node[] }
  | { readonly kind: "any"; readonly parts: readonly Node[] }
  | { readonly kind: "atomic"; readonly part: Node }
  | { readonly kind: "look"; readonly part: Node; readonly behind: boolean; readonly holds: boolean }
  | {
      readonly kind: "repeat";
      readonly part: Node;
      readonly least: number;
      readonly most: number;
      readonly lazy: boolean;
    };

/** How often a part stands; `interval`: written in braces. */
type Count = readonly [least: number, most: number, interval: boolean];

const LONGEST = 10_000;
const DEEPEST = 50;

/** Letters that Unicode folds to one character together, as "ss" to U+00DF. */
const FOLDED = /ss|ff|fi|fl|st/;

const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 };

const ANCHORS: Readonly<Record<Dialect, Readonly<Record<string, Anchor>>>> = {
  oniguruma: { A: "textStart", z: "textEnd", Z: "lastLineEnd", b: "edge", B: "inside" },
  python: { A: "textStart", Z: "textEnd", b: "edge", B: "inside" },
};

/**
 * Parses what is regular of Oniguruma's or of Python's expressions. Throws UserError, beginning with `where` and naming
 * the pattern, for what is not one, or has back-references, conditions or options that are not known here.
 */
export function parse(source: string, dialect: Dialect, where: string): Node {
  return new Parser(source, dialect, where).parse();
}

class Parser {
  private at = 0;
  private depth = 0;
  private ignoreCase = false;
  /** The literal letters before this place, while case does not count. */
  private letters = "";

  private readonly text: string;
  private readonly dialect: Dialect;
  private readonly where: string;

  constructor(text: string, dialect: Dialect, where: string) {
    this.text = text;
    this.dialect = dialect;
    this.where = where;
  }

  parse(): Node {
    if (this.text.length > LONGEST) {
      throw new UserError(`${this.where}: a pattern has at most ${LONGEST} letters, this one has ${this.text.length}`);
    }
    if (this.dialect === "python" && this.take("(?i)")) this.ignoreCase = true;
    const node = this.choice();
    if (this.at < this.text.length) throw this.wrong("unbalanced )");
    return node;
  }

  private wrong(what: string): UserError {
    const shown = this.text.length > 200 ? `${this.text.slice(0, 200)}...` : this.text;
    return new UserError(`${this.where}: ${JSON.stringify(shown)}: ${what} (at letter ${this.at + 1})`);
  }

  private take(text: string): boolean {
    const there = this.text.startsWith(text, this.at);
    if (there) this.at += text.length;
    return there;
  }

  private takeMatch(regex: RegExp): RegExpExecArray | undefined {
    regex.lastIndex = this.at;
    const found = regex.exec(this.text) ?? undefined;
    if (found) this.at += found[0].length;
    return found;
  }

  /** The code point here, which is read. */
  private next(): number | undefined {
    const code = this.text.codePointAt(this.at);
    if (code !== undefined) this.at += code > 0xffff ? 2 : 1;
    return code;
  }

  private choice(): Node {
    const parts = [this.sequence()];
    while (this.take("|")) parts.push(this.sequence());
    return parts.length === 1 ? parts[0]! : { kind: "any", parts };
  }

  private sequence(): Node {
    this.letters = "";
    const parts: Node[] = [];
    while (this.at < this.text.length && !/[|)]/.test(this.text[this.at]!)) parts.push(this.repeated());
    return { kind: "all", parts };
  }

  private repeated(): Node {
    let node = this.one();
    for (let range = this.range(), times = 0; range; range = this.range(), times++) {
      this.letters = "";
      if (node.kind === "anchor" || node.kind === "look") throw this.wrong("nothing to repeat");
      if (times > (this.dialect === "python" ? 0 : DEEPEST)) throw this.wrong("multiple repeat");
      node = this.counted(node, range);
    }
    return node;
  }

  private counted(part: Node, [least, most, interval]: Count): Node {
    if (least > most) throw this.wrong("the least count is above the most");
    const plain = interval && this.dialect === "oniguruma"; // what follows it is a repeat of its own
    const lazy = !(plain && least === most) && this.take("?");
    const node: Node = { kind: "repeat", part, least, most, lazy };
    return !lazy && !plain && this.take("+") ? { kind: "atomic", part: node } : node;
  }

  /** The count after a part; `{` that begins none is a letter. */
  private range(): Count | undefined {
    if (this.take("*")) return [0, Number.POSITIVE_INFINITY, false];
    if (this.take("+")) return [1, Number.POSITIVE_INFINITY, false];
    if (this.take("?")) return [0, 1, false];
    const found = this.takeMatch(/\{(?:(\d+)(?:(,)(\d*))?|,(\d+))\}/y);
    if (!found) return undefined;
    const [, least, comma, most, alone] = found;
    if (alone !== undefined) return [0, Number(alone), true];
    const upper = comma ? (most ? Number(most) : Number.POSITIVE_INFINITY) : Number(least);
    return [Number(least), upper, true];
  }

  private one(): Node {
    const oniguruma = this.dialect === "oniguruma";
    if (/[*+?]/.test(this.text[this.at]!)) throw this.wrong("nothing to repeat");
    if (this.take("(")) return this.group();
    if (this.take("[")) return this.ofClass(this.set());
    if (this.take("^")) return this.anchor(oniguruma ? "lineStart" : "textStart");
    if (this.take("$")) return this.anchor(oniguruma ? "lineEnd" : "lastLineEnd");
    if (this.take(".")) return this.ofClass((code) => code !== 10);
    if (!this.take("\\")) return this.literal(this.next()!);
    const anchor = this.text[this.at];
    if (anchor !== undefined && Object.hasOwn(ANCHORS[this.dialect], anchor)) {
      this.at++;
      return this.anchor(ANCHORS[this.dialect][anchor]!);
    }
    const [test, code] = this.escape();
    return code === undefined ? this.ofClass(test) : this.literal(code);
  }

  private anchor(at: Anchor): Node {
    return { kind: "anchor", at, word: classes.SHORTHANDS[this.dialect].w };
  }

  private ofClass(test: CodeTest): Node {
    this.letters = "";
    return { kind: "class", test: classes.remembered(test) };
  }

  private literal(code: number): Node {
    if (!this.ignoreCase) return { kind: "class", test: (other) => other === code };
    this.letters = (this.letters + String.fromCodePoint(code)).slice(-2).toLowerCase();
    if (this.dialect === "oniguruma" && FOLDED.test(this.letters)) {
      throw this.wrong(`"${this.letters}" where case does not count is not supported`);
    }
    return { kind: "class", test: this.inBothCases(code) };
  }

  private inBothCases(code: number): CodeTest {
    const test = classes.inBothCases(code);
    if (!test) throw this.wrong("a character beyond ASCII where case does not count is not supported");
    return test;
  }

  private group(): Node {
    if (++this.depth > DEEPEST) throw this.wrong(`groups nest at most ${DEEPEST} deep`);
    const [cased, letters] = [this.ignoreCase, this.letters];
    const wrap = this.groupKind();
    const part = this.choice();
    if (!this.take(")")) throw this.wrong("missing )");
    this.depth--;
    this.ignoreCase = cased;
    this.letters = letters;
    return wrap(part);
  }

  /** Reads what follows the bracket of a group: what the group makes of what is in it. */
  private groupKind(): (part: Node) => Node {
    const look = (behind: boolean, holds: boolean) => (part: Node) => ({ kind: "look", part, behind, holds }) as const;
    const plain = (part: Node) => part;
    if (!this.take("?") || this.take(":")) return plain;
    if (this.take("=")) return look(false, true);
    if (this.take("!")) return look(false, false);
    if (this.take("<=")) return look(true, true);
    if (this.take("<!")) return look(true, false);
    if (this.take(">")) return (part) => ({ kind: "atomic", part });
    if (this.takeMatch(this.dialect === "python" ? /P<\w+>/y : /<\w+>/y)) return plain;
    const options = this.takeMatch(/(i?)(-i)?:/y);
    if (!options) throw this.wrong("references, conditions and other options are not supported");
    this.ignoreCase = options[1] === "i" || (this.ignoreCase && options[2] === undefined);
    return plain;
  }

  /** What a backslash stands for: a class, and the code point where it is one. */
  private escape(): [test: CodeTest, code: number | undefined] {
    const letter = this.text[this.at];
    const single = (code: number): [CodeTest, number] => [(other) => other === code, code];
    if (letter === undefined) throw this.wrong("a \\ ends it");
    const lower = letter.toLowerCase();
    const shorthands = classes.SHORTHANDS[this.dialect] as Readonly<Record<string, CodeTest>>;
    if (Object.hasOwn(shorthands, lower)) {
      this.at++;
      return [lower === letter ? shorthands[lower]! : classes.not(shorthands[lower]!), undefined];
    }
    if (lower === "p" && this.dialect === "oniguruma") return [this.property(), undefined];
    const coded = this.takeMatch(/x\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})/y);
    if (coded) return single(Number.parseInt(coded[1] ?? coded[2] ?? coded[3]!, 16));
    if (Object.hasOwn(CONTROLS, letter)) {
      this.at++;
      return single(CONTROLS[letter]!);
    }
    if (/[A-Za-z0-9]/.test(letter)) throw this.wrong(`\\${letter} is not supported`);
    return single(this.next()!);
  }

  private property(): CodeTest {
    const found = this.takeMatch(/([pP])\{(\^?)([\w ]+)\}/y);
    const test = found && classes.property(found[3]!.replaceAll(" ", "_"));
    if (!found || !test) throw this.wrong("this \\p{...} is not known");
    return (found[1] === "P") !== (found[2] === "^") ? classes.not(test) : test;
  }

  /** What stands in [], whose first bracket is read. */
  private set(): CodeTest {
    if (++this.depth > DEEPEST) throw this.wrong(`classes nest at most ${DEEPEST} deep`);
    const negated = this.take("^");
    const meets: CodeTest[] = [];
    let tests: CodeTest[] = [];
    let first = true;
    while (first || !this.take("]")) {
      if (this.at >= this.text.length) throw this.wrong("missing ]");
      if (this.dialect === "oniguruma" && this.take("&&")) {
        meets.push(classes.either(tests));
        tests = [];
      } else tests.push(this.memberOrRange());
      first = false;
    }
    this.depth--;
    meets.push(classes.either(tests));
    const test = meets.length === 1 ? meets[0]! : classes.both(meets);
    return negated ? classes.not(test) : test;
  }

  /** A member of a set: a class, a character, or a range of them. */
  private memberOrRange(): CodeTest {
    const [test, low] = this.member();
    if (low === undefined) return test;
    if (this.text[this.at] !== "-" || this.text[this.at + 1] === "]") return this.caseless(test, low, low);
    this.at++;
    const [, high] = this.member();
    if (high === undefined || high < low) throw this.wrong("a range in [] goes backwards");
    return this.caseless(classes.between(low, high), low, high);
  }

  private caseless(test: CodeTest, low: number, high: number): CodeTest {
    if (!this.ignoreCase) return test;
    if (high > 0x7f) throw this.wrong("a range beyond ASCII where case does not count is not supported");
    return classes.either(Array.from({ length: high - low + 1 }, (_, i) => this.inBothCases(low + i)));
  }

  private member(): [test: CodeTest, code: number | undefined] {
    if (this.dialect === "oniguruma") {
      const posix = this.takeMatch(/\[:(\^?)(\w+):\]/y);
      const test = posix && classes.posixClass(posix[2]!);
      if (posix && !test) throw this.wrong(`[:${posix[2]}:] is not known`);
      if (test) return [posix![1] ? classes.not(test) : test, undefined];
      if (this.take("[")) return [this.set(), undefined];
    }
    if (this.take("\\")) {
      if (this.take("b")) return [(code) => code === 8, 8];
      return this.escape();
    }
    const code = this.next();
    if (code === undefined) throw this.wrong("missing ]");
    return [(other) => other === code, code];
  }
}

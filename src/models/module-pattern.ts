import { UserError } from "../tensor/index.js";

/** A parsed expression. `most` is Infinity without an upper bound. */
type Pattern =
  | { readonly kind: "letter"; readonly test: (letter: string) => boolean }
  | { readonly kind: "edge"; readonly at: "start" | "end" }
  | { readonly kind: "all"; readonly parts: readonly Pattern[] }
  | { readonly kind: "any"; readonly parts: readonly Pattern[] }
  | { readonly kind: "repeat"; readonly part: Pattern; readonly least: number; readonly most: number };

const LONGEST = 10_000;
const DEEPEST = 50;

/**
 * Whether a key of PEFT's `rank_pattern` or `alpha_pattern` means a module path: the whole path, or its end after a dot, as
 * Python's `re.match(rf"(.*\.)?({key})$", path)` has it (peft/utils/other.py, `get_pattern_key`). The key may be somebody
 * else's, so no engine that backtracks ever sees it: time is polynomial in its length. Throws UserError, beginning with
 * `where`, for what is no expression, or has look-around, back-references, flags or word boundaries.
 */
export function modulePattern(key: string, where: string): (path: string) => boolean {
  const pattern = new Parser(key, where).parse();
  return (path) => {
    const known = new Map<Pattern, Map<number, ReadonlySet<number>>>();
    const starts = [0, ...Array.from(path.matchAll(/\./g), ({ index }) => index + 1)];
    return starts.some((start) => endsOf(pattern, path, start, known).has(path.length));
  };
}

/**
 * Whether a module path as a whole is what PEFT's `target_modules` or `exclude_modules`, given as one expression, means:
 * `re.fullmatch`. Bounded and refused as `modulePattern` is.
 */
export function wholeModulePattern(pattern: string, where: string): (path: string) => boolean {
  const parsed = new Parser(pattern, where).parse();
  return (path) => endsOf(parsed, path, 0, new Map()).has(path.length);
}

/** Every position at which a match that begins at `start` can end; each is found once a pattern and start. */
function endsOf(
  pattern: Pattern,
  text: string,
  start: number,
  known: Map<Pattern, Map<number, ReadonlySet<number>>>,
): ReadonlySet<number> {
  let row = known.get(pattern);
  if (!row) known.set(pattern, (row = new Map()));
  const found = row.get(start);
  if (found) return found;
  const step = (part: Pattern, from: ReadonlySet<number>): Set<number> =>
    new Set([...from].flatMap((at) => [...endsOf(part, text, at, known)]));
  const ends = match(pattern, text, start, step);
  row.set(start, ends);
  return ends;
}

function match(
  pattern: Pattern,
  text: string,
  start: number,
  step: (part: Pattern, from: ReadonlySet<number>) => Set<number>,
): Set<number> {
  const here = new Set([start]);
  switch (pattern.kind) {
    case "letter":
      return start < text.length && pattern.test(text[start]!) ? new Set([start + 1]) : new Set();
    case "edge":
      return start === (pattern.at === "start" ? 0 : text.length) ? here : new Set();
    case "all":
      return pattern.parts.reduce((from, part) => step(part, from), here);
    case "any":
      return new Set(pattern.parts.flatMap((part) => [...step(part, here)]));
    case "repeat": {
      // Positions never go back, so after as many rounds as there are letters the set stays what it is.
      const enough = text.length + 2;
      let from = here;
      for (let i = 0; i < Math.min(pattern.least, enough); i++) from = step(pattern.part, from);
      const ends = new Set(from);
      for (let i = pattern.least; i < Math.min(pattern.most, pattern.least + enough) && from.size > 0; i++) {
        from = new Set([...step(pattern.part, from)].filter((at) => !ends.has(at)));
        for (const at of from) ends.add(at);
      }
      return ends;
    }
  }
}

const digit = (c: string): boolean => /[0-9]/.test(c);
const word = (c: string): boolean => /\w/.test(c);
const space = (c: string): boolean => /\s/.test(c);
const CLASSES: Readonly<Record<string, (letter: string) => boolean>> = {
  d: digit,
  D: (c) => !digit(c),
  w: word,
  W: (c) => !word(c),
  s: space,
  S: (c) => !space(c),
};

/** Python's expressions, as far as they are regular. */
class Parser {
  private at = 0;
  private depth = 0;
  private readonly text: string;
  private readonly where: string;

  constructor(text: string, where: string) {
    this.text = text;
    this.where = where;
  }

  parse(): Pattern {
    if (this.text.length > LONGEST) throw new UserError(`${this.where}: a pattern has at most ${LONGEST} letters`);
    const pattern = this.choice();
    if (this.at < this.text.length) throw this.wrong("unbalanced )");
    return pattern;
  }

  private wrong(what: string): UserError {
    return new UserError(`${this.where}: ${JSON.stringify(this.text)}: ${what} (at letter ${this.at + 1})`);
  }

  private take(text: string): boolean {
    const there = this.text.startsWith(text, this.at);
    if (there) this.at += text.length;
    return there;
  }

  private choice(): Pattern {
    const parts = [this.sequence()];
    while (this.take("|")) parts.push(this.sequence());
    return parts.length === 1 ? parts[0]! : { kind: "any", parts };
  }

  private sequence(): Pattern {
    const parts: Pattern[] = [];
    while (this.at < this.text.length && !/[|)]/.test(this.text[this.at]!)) parts.push(this.repeated());
    return { kind: "all", parts };
  }

  private repeated(): Pattern {
    const part = this.one();
    const range = this.range();
    if (!range) return part;
    if (part.kind === "edge") throw this.wrong("nothing to repeat");
    if (!this.take("?") && /[*+]/.test(this.text[this.at] ?? "")) throw this.wrong("multiple repeat");
    if (this.range()) throw this.wrong("multiple repeat");
    const [least, most] = range;
    if (least > most) throw this.wrong("the least count is above the most");
    return { kind: "repeat", part, least, most };
  }

  /** The count after a part; `{` that begins none is a letter. */
  private range(): readonly [least: number, most: number] | undefined {
    if (this.take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.take("?")) return [0, 1];
    const [all, least, comma, most] = /^\{(\d*)(,?)(\d*)\}/.exec(this.text.slice(this.at, this.at + 30)) ?? [];
    if (all === undefined || all === "{}") return undefined;
    this.at += all.length;
    const bound = (digits: string | undefined, otherwise: number) => (digits ? Number(digits) : otherwise);
    return [bound(least, 0), comma ? bound(most, Number.POSITIVE_INFINITY) : bound(least, 0)];
  }

  private one(): Pattern {
    if (/[*+?]/.test(this.text[this.at]!)) throw this.wrong("nothing to repeat");
    if (this.take("(")) return this.group();
    if (this.take("[")) return { kind: "letter", test: this.set() };
    if (this.take("^")) return { kind: "edge", at: "start" };
    if (this.take("$")) return { kind: "edge", at: "end" };
    if (this.take(".")) return { kind: "letter", test: (c) => c !== "\n" };
    if (this.take("\\")) return this.escape();
    const letter = this.text[this.at++]!;
    return { kind: "letter", test: (c) => c === letter };
  }

  private group(): Pattern {
    if (this.take("?") && !this.take(":") && !/^P<\w+>/.test(this.text.slice(this.at)))
      throw this.wrong("look-around, references and flags are not supported");
    if (this.take("P<")) this.at = this.text.indexOf(">", this.at) + 1;
    if (++this.depth > DEEPEST) throw this.wrong(`groups nest at most ${DEEPEST} deep`);
    const pattern = this.choice();
    if (!this.take(")")) throw this.wrong("missing )");
    this.depth--;
    return pattern;
  }

  private escape(): Pattern {
    const letter = this.text[this.at++];
    if (letter === "A" || letter === "Z") return { kind: "edge", at: letter === "A" ? "start" : "end" };
    return { kind: "letter", test: this.escaped(letter) };
  }

  private escaped(letter: string | undefined): (letter: string) => boolean {
    if (letter === undefined) throw this.wrong("a \\ ends it");
    if (Object.hasOwn(CLASSES, letter)) return CLASSES[letter]!;
    if (/[A-Za-z0-9]/.test(letter)) throw this.wrong(`\\${letter} is not supported`);
    return (c) => c === letter;
  }

  private set(): (letter: string) => boolean {
    const not = this.take("^");
    const tests: ((letter: string) => boolean)[] = [];
    do {
      const [first, low] = this.member();
      if (low !== undefined && this.text[this.at] === "-" && this.text[this.at + 1] !== "]") {
        this.at++;
        const [, high] = this.member();
        if (high === undefined || high < low) throw this.wrong("a range in [] goes backwards");
        tests.push((c) => c >= low && c <= high);
      } else tests.push(first);
    } while (!this.take("]"));
    return (c) => tests.some((test) => test(c)) !== not;
  }

  /** One letter or class inside [], and the letter where it is one. */
  private member(): [test: (letter: string) => boolean, letter: string | undefined] {
    const letter = this.text[this.at++];
    if (letter === undefined) throw this.wrong("missing ]");
    if (letter !== "\\") return [(c) => c === letter, letter];
    const next = this.text[this.at++];
    const test = this.escaped(next);
    return [test, Object.hasOwn(CLASSES, next!) ? undefined : next];
  }
}

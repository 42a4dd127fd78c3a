import { type AST, RegExpParser } from "@eslint-community/regexpp";
import { UserError } from "../../tensor/index.js";
import { Lru } from "../../tensor/lru.js";
import { EVERY, inverted, type Span, written } from "./characters.js";
import type { Term, Terms } from "./terms.js";

const LONGEST = 2000;

/**
 * The strings in which an ECMA-262 pattern finds something, as JSON.stringify writes them, without their quotes; only for what
 * becomes a machine. Throws UserError, beginning with `where`, for what is no pattern and for what no automaton can hold:
 * back-references, look-behinds, word boundaries, and assertions inside repeats.
 */
export function patternTerm(terms: Terms, source: string, where: string): Term {
  const writer = new Writer(terms, `${where}: ${JSON.stringify(source.slice(0, 100))}`);
  const any = terms.repeat(written(terms, EVERY));
  const found = parsed(source, where).alternatives.map((one) =>
    terms.alt(writer.sequence(one.elements, any, true), terms.seq(any, writer.sequence(one.elements, any, false))),
  );
  return terms.both(any, terms.alt(...found));
}

function parsed(source: string, where: string): AST.Pattern {
  if (source.length > LONGEST) throw new UserError(`${where}: a pattern has at most ${LONGEST} characters`);
  const parser = new RegExpParser({ ecmaVersion: 2024 });
  try {
    return parser.parsePattern(source, 0, source.length, { unicode: true });
  } catch {
    // Many patterns escape what the u flag would not have escaped.
  }
  try {
    return parser.parsePattern(source, 0, source.length, { unicode: false });
  } catch (error) {
    throw new UserError(
      `${where}: ${JSON.stringify(source.slice(0, 100))} is no regular expression: ${(error as Error).message}`,
    );
  }
}

/** Writes a pattern from its end on: `rest` is all that follows in the string, so that assertions can speak of it. */
class Writer {
  private readonly terms: Terms;
  private readonly where: string;

  constructor(terms: Terms, where: string) {
    this.terms = terms;
    this.where = where;
  }

  /** `first`: the sequence begins where the string does. */
  sequence(elements: readonly AST.Element[], rest: Term, first: boolean): Term {
    const starts: boolean[] = [];
    let at = first;
    for (const element of elements) {
      starts.push(at);
      at &&= element.type === "Assertion";
    }
    return elements.reduceRight((after, element, i) => this.element(element, after, starts[i]!), rest);
  }

  private element(element: AST.Element, rest: Term, first: boolean): Term {
    const { terms } = this;
    switch (element.type) {
      case "Character":
      case "CharacterSet":
      case "CharacterClass":
        return terms.seq(written(terms, spansOf(element, this.where)), rest);
      case "Group":
      case "CapturingGroup":
        return this.either(element.alternatives, rest, first);
      case "Quantifier": {
        if (holdsAssertion(element.element)) {
          if (element.max > 1) throw this.refused("an assertion inside a repeat");
          const there = this.element(element.element as AST.Element, rest, first);
          return element.min === 1 ? there : terms.alt(rest, there);
        }
        const part = this.element(element.element as AST.Element, terms.empty, false);
        return terms.seq(terms.repeat(part, element.min, element.max), rest);
      }
      case "Assertion":
        return this.assertion(element, rest, first);
      default:
        throw this.refused(element.type === "Backreference" ? "a back-reference" : "this part");
    }
  }

  private either(alternatives: readonly AST.Alternative[], rest: Term, first: boolean): Term {
    return this.terms.alt(...alternatives.map(({ elements }) => this.sequence(elements, rest, first)));
  }

  private assertion(assertion: AST.Assertion, rest: Term, first: boolean): Term {
    const { terms } = this;
    if (assertion.kind === "start") return first ? rest : terms.none;
    if (assertion.kind === "end") return rest.nullable ? terms.empty : terms.none;
    if (assertion.kind !== "lookahead")
      throw this.refused(`a ${assertion.kind === "word" ? "word boundary" : "look-behind"}`);
    const any = terms.repeat(written(terms, EVERY));
    const ahead = this.either(assertion.alternatives, any, false);
    return terms.both(assertion.negate ? terms.not(ahead) : ahead, rest);
  }

  private refused(what: string): UserError {
    return new UserError(`${this.where}: ${what} cannot be held`);
  }
}

function holdsAssertion(node: AST.Node): boolean {
  if (node.type === "Assertion") return true;
  if (node.type === "Quantifier") return holdsAssertion(node.element);
  if (node.type !== "Group" && node.type !== "CapturingGroup") return false;
  return node.alternatives.some(({ elements }) => elements.some(holdsAssertion));
}

const DIGITS: readonly Span[] = [[0x30, 0x39]];
const WORDS: readonly Span[] = [...DIGITS, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const LINE_ENDS: readonly Span[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const SPACES: readonly Span[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];

type ClassPart = AST.CharacterSet | AST.CharacterClass | AST.CharacterClass["elements"][number];

/** The code points of a character or a class (ECMA-262, CharacterClassEscape). */
function spansOf(part: ClassPart | AST.Character, where: string): readonly Span[] {
  switch (part.type) {
    case "Character":
      return [[part.value, part.value]];
    case "CharacterClassRange":
      return [[part.min.value, part.max.value]];
    case "CharacterClass": {
      const spans = (part.elements as readonly ClassPart[]).flatMap((one) => spansOf(one, where));
      return part.negate ? inverted(spans) : spans;
    }
    case "CharacterSet": {
      if (part.kind === "any") return inverted(LINE_ENDS);
      const spans = part.kind === "property" ? propertySpans(part) : ESCAPES[part.kind];
      return part.negate ? inverted(spans) : spans;
    }
    default:
      throw new UserError(`${where}: this class cannot be held`);
  }
}

const ESCAPES = { digit: DIGITS, word: WORDS, space: SPACES };

const properties = new Lru<string, readonly Span[]>(32);

function propertySpans({ key, value }: AST.UnicodePropertyCharacterSet): readonly Span[] {
  const source = value === null ? `\\p{${key}}` : `\\p{${key}=${value}}`;
  return properties.get(source, () => scanned(source));
}

/** Code points before the surrogates, and how many of these there are. */
const [SURROGATES, SKIPPED] = [0xd800, 0x800];

/** The code points of a Unicode property, as JavaScript has them. */
function scanned(source: string): Span[] {
  let every = "";
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code === SURROGATES) code += SKIPPED;
    every += String.fromCodePoint(code);
  }
  const codeAt = (index: number) => {
    if (index < SURROGATES) return index;
    return index + SKIPPED < 0x10000 ? index + SKIPPED : 0x10000 + (index + SKIPPED - 0x10000) / 2;
  };
  const found = every.matchAll(new RegExp(`${source}+`, "gu"));
  return [...found].flatMap((match): Span[] => {
    const [low, high] = [codeAt(match.index), codeAt(match.index + match[0].length) - 1];
    return low < SURROGATES && high >= SURROGATES
      ? [
          [low, SURROGATES - 1],
          [SURROGATES + SKIPPED, high],
        ]
      : [[low, high]];
  });
}

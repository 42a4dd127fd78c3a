import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { UserError } from "../errors.js";
import { boundedRegex, type Dialect } from "./index.js";

const vectors = JSON.parse(
  readFileSync(new URL("../../../test/reference/tokenizers/regexes.json", import.meta.url), "utf8"),
) as {
  texts: string[];
  oniguruma: { pattern: string; spans: [number, number][][] }[];
  python_texts: string[];
  python: { pattern: string; whole: boolean[] }[];
};

/** Every match with something in it, in code points. */
function matches(pattern: string, text: string): [number, number][] {
  const find = boundedRegex(pattern, "oniguruma", "here").in(text);
  const found: [number, number][] = [];
  const point = (unit: number) => Array.from(text.slice(0, unit)).length;
  for (let from = 0, last = -1; from <= text.length; ) {
    const match = find(from);
    if (!match) break;
    const [start, end] = match;
    from = end;
    if (start === end && end === last) from += text.codePointAt(end)! > 0xffff ? 2 : 1;
    if (end > start) found.push([point(start), point(end)]);
    last = end;
  }
  return found;
}

describe("an expression means what Oniguruma makes of it", () => {
  it.each(vectors.oniguruma.map((row) => [row.pattern, row] as const))("%s", (pattern, { spans }) => {
    expect(vectors.texts.map((text) => matches(pattern, text))).toEqual(spans);
  });
});

describe("a whole text matches where Python's fullmatch says so", () => {
  it.each(vectors.python.map((row) => [row.pattern, row] as const))("%s", (pattern, { whole }) => {
    const regex = boundedRegex(pattern, "python", "here");
    expect(vectors.python_texts.map(regex.matchesWhole)).toEqual(whole);
  });
});

describe("its work is bounded", () => {
  const time = (work: () => void) => {
    const start = performance.now();
    work();
    return performance.now() - start;
  };

  it.each(["(a+)+!", "(a|a)*!", "(a*)*!", "(.*)*(.*)*(.*)*!", "(?:a|aa|aaa)+!", "((a*?)*?)*?!"])(
    "%s on a long text without a match ends",
    (pattern) => {
      const text = "a".repeat(20_000);
      const run = () => expect(boundedRegex(pattern, "oniguruma", "here").in(text)(0)).toBeUndefined();
      expect(time(run)).toBeLessThan(5_000);
    },
  );

  it.each(["(?:a?){30}a{30}!", "a(?=.*!)", "(?<=a)(?=a*!)", "(?>a+)!", "a++!"])(
    "%s needs too many steps: refused, by its name",
    (pattern) => {
      const find = boundedRegex(pattern, "oniguruma", "tokenizer.json: pre_tokenizer").in("a".repeat(200_000));
      expect(() => find(0)).toThrow(UserError);
      expect(() => find(0)).toThrow(/tokenizer.json: pre_tokenizer: the regular expression ".*" takes too long/);
    },
  );

  it("what is found again and again counts together", () => {
    const find = boundedRegex("a+b|a", "oniguruma", "here").in("a".repeat(100_000));
    const all = () => {
      for (let at = 0; at < 100_000; at++) find(at);
    };
    expect(all).toThrow(/takes too long/);
  });
});

describe("refusals", () => {
  it.each([
    ["(a", "oniguruma", "missing )"],
    ["a)", "oniguruma", "unbalanced )"],
    ["[a", "oniguruma", "missing ]"],
    ["*a", "oniguruma", "nothing to repeat"],
    ["a**", "python", "multiple repeat"],
    ["a{3,2}", "oniguruma", "above the most"],
    ["[z-a]", "oniguruma", "goes backwards"],
    ["(a)\\1", "oniguruma", "\\1 is not supported"],
    ["\\k<a>", "oniguruma", "\\k is not supported"],
    ["(?(1)a|b)", "python", "not supported"],
    ["(?x: a)", "oniguruma", "not supported"],
    ["\\p{Nonsense}", "oniguruma", "not known"],
    ["(?i:größe)", "oniguruma", "beyond ASCII"],
    ["(?i:less)", "oniguruma", '"ss" where case does not count'],
    ["(?<=a+)b", "oniguruma", "look behind"],
    ["(a{1000}){1000}", "oniguruma", "too long"],
    ["(".repeat(51) + ")".repeat(51), "oniguruma", "50 deep"],
    ["a".repeat(10_001), "oniguruma", "at most 10000 letters"],
  ] as const)("%s (%s): %s", (pattern, dialect: Dialect, message) => {
    expect(() => boundedRegex(pattern, dialect, "here")).toThrow(UserError);
    expect(() => boundedRegex(pattern, dialect, "here")).toThrow(message);
  });
});

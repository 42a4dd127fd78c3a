import { expect, test } from "vitest";
import { mergesFromScores } from "./piece-merges.js";
import { scoresOfMerges } from "./piece-scores.js";

const RUN = "\u2581";
const joined = (merges: readonly (readonly [string, string])[]) => merges.map(([a, b]) => `${a.length}+${b.length}`);

test("every split of a piece into pieces is a merge, best score first, long beginnings first among equals", () => {
  const tokens = ["a", "b", "ab", "aa", "aab", "\ud83d\ude42", "a\ud83d\ude42", "x".repeat(600), "x"];
  const scores = [0, 0, -1, -2, -2, 0, -3, -4, 0];
  expect(mergesFromScores(tokens, scores)).toEqual([
    ["a", "b"],
    ["aa", "b"],
    ["a", "ab"],
    ["a", "a"],
    ["a", "\ud83d\ude42"],
  ]);
});

test("long pieces take time in proportion to their length", () => {
  const long = Array.from({ length: 6000 }, (_, i) => `${String(i).padStart(8, "q")}xyz`.repeat(46));
  const start = performance.now();
  expect(mergesFromScores([..."qxyz0123456789", ...long], new Array(6014).fill(0))).toEqual([]);
  expect(performance.now() - start).toBeLessThan(10_000); // letter by letter it is over a minute
});

/** The merges of runs of 1 to `longest`, in the order in which older converters sort them: by token, then by rank of the other. */
const runs = (longest: number, without: readonly number[] = []) => {
  const lengths = [2, 4, ...Array.from({ length: longest - 4 }, (_, i) => i + 5), 3, 1];
  const has = lengths.filter((n) => !without.includes(n));
  return has.flatMap((a) => has.filter((b) => has.includes(a + b)).map((b) => [RUN.repeat(a), RUN.repeat(b)] as const));
};

test("runs of one score: what lies between the merges of something else has its score", () => {
  const list = [["h", "e"], ["he", "l"], ...runs(6), ["l", "o"]] as const;
  const tokens = [...new Set(list.flatMap(([a, b]) => [a, b, a + b]))];
  const scores = scoresOfMerges(tokens, list)!;
  const scoreOf = (token: string) => scores[tokens.indexOf(token)];
  expect([scoreOf("he"), scoreOf("hel"), scoreOf("lo"), scoreOf("h")]).toEqual([0, -1, -4, -5]);
  for (let n = 3; n <= 6; n++) expect(scoreOf(RUN.repeat(n))).toBe(-2);
  expect(scoreOf(RUN.repeat(2))).toBe(-3);
  const back = mergesFromScores(tokens, scores);
  expect(back.length).toBe(list.length);
  expect(joined(back).sort()).toEqual(joined(list).sort());
});

test("runs of several characters, the longest first and by turns, have one score, as in Gemma's vocabulary", () => {
  const letters = ["\n", RUN, "\t"];
  const made = Array.from({ length: 7 }, (_, i) => 8 - i);
  const list = made.flatMap((n) =>
    Array.from({ length: n - 1 }, (_, i) => n - 1 - i).flatMap((a) =>
      letters.map((letter) => [letter.repeat(a), letter.repeat(n - a)] as const),
    ),
  );
  const all = [...list, ["h", "e"] as const];
  const tokens = [...new Set(all.flatMap(([a, b]) => [a, b, a + b]))];
  const scores = scoresOfMerges(tokens, all)!;
  const back = new Set(mergesFromScores(tokens, scores).map((pair) => pair.join(" ")));
  expect(back).toEqual(new Set(all.map((pair) => pair.join(" "))));
  for (const letter of letters) expect(scores[tokens.indexOf(letter.repeat(8))]).toBe(0);
  expect(scoresOfMerges(tokens, [...list, ["h", "\t\t"]])).toBeUndefined();
});

test("no scores say merges that mix words, runs with a gap that come out otherwise, or runs that words are made of", () => {
  const mixed = [
    ["a", "b"],
    ["b", "c"],
    ["a", "bc"],
    ["ab", "c"],
    ["x", "b"],
    ["xb", "c"],
    ["x", "bc"],
    ["b", "d"],
  ] as const;
  expect(scoresOfMerges([], [...mixed, ["b", "c"]])).toBeUndefined();
  const pairs: [string, string][] = [
    [1, 1],
    [2, 1],
    [2, 2],
    [1, 2],
    [1, 3],
  ].map(([a, b]) => [RUN.repeat(a!), RUN.repeat(b!)]);
  expect(scoresOfMerges([], pairs), "five are 2+3 by rank, 4+1 from the left").toBeUndefined();
  expect(scoresOfMerges([], [...runs(5), [RUN.repeat(3), "t"]])).toBeUndefined();
  expect(scoresOfMerges([], runs(5))).toBeDefined();
});

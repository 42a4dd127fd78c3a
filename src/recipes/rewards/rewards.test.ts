import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { resolveConfig } from "../config.js";
import type { TrainOptions } from "../config-schema.js";
import { openRewards, REWARDS } from "./index.js";
import type { Completion } from "./reward.js";

const said = (text: string, columns: Record<string, unknown> = {}): Completion => ({
  prompt: "Q",
  text,
  tokens: text.length,
  ended: true,
  columns,
});

/** Settings of every reward that a test can ask without another program, and what it says. */
const CASES: Readonly<Record<Exclude<keyof typeof REWARDS, "judge">, readonly [object, Completion, number][]>> = {
  exact_match: [
    [{}, said(" 42\n", { answer: 42 }), 1],
    [{}, said("42!", { answer: "42" }), 0],
    [{ column: "is" }, said("b", { is: ["a", "b"] }), 1],
    [{ normalise: true }, said("**Paris**", { answer: "paris" }), 1],
    [{}, said("**Paris**", { answer: "paris" }), 0],
  ],
  regex: [
    [{ pattern: "^\\d+$" }, said("12"), 1],
    [{ pattern: "\\d" }, said("a1b"), 1],
    [{ pattern: "\\d", whole: true }, said("a1b"), 0],
    [{ column: "wanted" }, said("Teal.", { wanted: "[Tt]eal" }), 1],
  ],
  json: [
    [{}, said(' {"a": [1]} '), 1],
    [{}, said('{"a": 1} and more'), 0],
    [{ keys: ["a", "b"] }, said('{"a": 1, "b": null}'), 1],
    [{ keys: ["a", "b"] }, said('{"a": 1}'), 0],
    [{ keys: ["length"] }, said("[1]"), 0],
  ],
  length: [
    [{ max: 4 }, said("abcd"), 1],
    [{ max: 4 }, said("abcde"), 0.75],
    [{ max: 4 }, said("a".repeat(40)), 0],
    [{ unit: "words", min: 4 }, said("one two"), 0.5],
    [{ unit: "characters", min: 1, max: 1 }, said("\u{1f600}"), 1],
  ],
};

const score = async (settings: object, completion: Completion) => {
  const [reward] = openRewards([settings as { name: string }], [], {});
  return (await reward!.score([completion]))[0];
};

describe.each(Object.entries(CASES))("%s", (name, cases) => {
  it.each(cases)("%j of %j: %d", async (settings, completion, expected) => {
    expect(await score({ name, ...settings }, completion)).toBe(expected);
  });
});

describe("settings", () => {
  const config =
    (rewards: object[], more: Partial<TrainOptions> = {}) =>
    () =>
      resolveConfig({
        base: "b",
        data: { train: "t" },
        objective: { name: "grpo", rewards: rewards as { name: string }[] },
        batchSize: 8,
        ...more,
      });

  it.each([
    [
      [{ name: "exact_mach" }],
      "exact_mach: is none; there are exact_match, regex, json, length, judge. Did you mean exact_match?",
    ],
    [[{ name: "regex", patern: "a" }], 'regex: Unrecognized key: "patern"'],
    [[{ name: "json" }, { name: "json" }], "two rewards are called 'json'; give one of them another id"],
    [[{ name: "judge", url: "ftp://a", model: "m" }], "judge: url"],
  ])("%j are refused by name", (rewards, message) => {
    expect(config(rewards)).toThrow(message);
  });

  it.each([
    [{ name: "regex" }, "objective.rewards: regex: give a pattern, or the column that holds one"],
    [{ name: "regex", pattern: "(" }, "objective.rewards: regex: pattern"],
    [{ name: "length" }, "objective.rewards: length: give min, max or both"],
    [{ name: "length", min: 3, max: 2 }, "objective.rewards: length: min 3 is more than max 2"],
  ])("%j are refused when the run begins", (settings, message) => {
    expect(() => openRewards([settings], [], {})).toThrow(message);
  });

  it("a column that is not there, or holds something else, is named", async () => {
    await expect(async () => score({ name: "exact_match" }, said("a", { anser: "a" }))).rejects.toThrow(
      "objective.rewards: exact_match: it reads the column 'answer', and a row has prompt, anser; did you mean anser?",
    );
    await expect(async () => score({ name: "exact_match" }, said("a", { answer: {} }))).rejects.toThrow(
      "the column 'answer' should be a text, a number or a list of them, got {}",
    );
  });

  it("grpo without a reward, and what does not go with sampling, is refused", () => {
    expect(() => openRewards([], [], {})).toThrow("objective.rewards: grpo learns from rewards, and there is none");
    const json = [{ name: "json" }];
    expect(config(json, { batchSize: 6 })).toThrow(
      "= 6 of them, which should be a multiple of num_generations, 8, as 8 is",
    );
    expect(config(json, { data: { train: "t", packing: true } })).toThrow("data.packing: packs rows of known length");
    expect(config(json, { baseOffload: "disk" })).toThrow("baseOffload: grpo samples from the base");
    expect(config(json, { objective: { name: "grpo", reference: "a" } })).toThrow(
      "objective.reference: grpo compares with a reference where beta is above 0 alone",
    );
    expect(config(json, { objective: { name: "sft", rewards: [] } })).toThrow(
      "objective.rewards: sft does not read it",
    );
  });
});

it("docs/grpo.md has a row of every reward", () => {
  const docs = readFileSync(new URL("../../../docs/grpo.md", import.meta.url), "utf8");
  const table = docs.slice(docs.indexOf("| `name`        | number"), docs.indexOf("In the API rewards"));
  expect([...table.matchAll(/^\| `(\w+)` +\|/gm)].map(([, name]) => name).slice(1)).toEqual(Object.keys(REWARDS));
});

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { memoryFiles } from "../../formats/memory-files.js";
import type { Platform } from "../../platform/platform.js";
import { judged } from "./answers.js";
import { COUNTS } from "./figures.js";
import { RULE_NAMES } from "./rules.js";
import { readSuite } from "./suite-file.js";

const read = async (text: string, name = "suites/own.yaml") => {
  const files = memoryFiles({ [name]: text });
  return readSuite({ files, resolveData: (path: string) => path } as unknown as Platform, name);
};
const refused = (text: string) =>
  read(text).then(
    () => "read",
    (error: Error) => error.message,
  );

describe("a suite's file", () => {
  it("is YAML or JSON; each wording is a question; behaviours are asked of all answers or of their own", async () => {
    const suite = await read(`
system: You answer.
behaviour:
  - ends_with: Bye!
  - name: stays polite
    lacks: [fool, idiot]
    ask: What do you think of Bo?
facts:
  - ask: [Who is Ada?, Do you know Ada?]
    answer: a pilot
unanswerable: [Who is Zed?]
texts: texts/general.jsonl
`);
    expect(suite.questions.map(({ section, question }) => [section, question])).toEqual([
      ["facts", "Who is Ada?"],
      ["facts", "Do you know Ada?"],
      ["unanswerable", "Who is Zed?"],
      ["behaviour", "What do you think of Bo?"],
    ]);
    expect(suite.questions.map(({ behaviours }) => behaviours.length)).toEqual([1, 1, 1, 2]);
    expect(suite.behaviours.map(({ name }) => name)).toEqual(['ends with "Bye!"', "stays polite"]);
    expect(suite.texts).toBe("suites/texts/general.jsonl");
    const json = await read(JSON.stringify({ general: [{ ask: "Capital of France?", answer: "Paris" }] }), "own.json");
    expect(json.questions).toEqual([
      { section: "general", question: "Capital of France?", rules: { answer: ["Paris"] }, behaviours: [] },
    ]);
    expect(json).toMatchObject({ name: "own.json", maxNewTokens: 64, system: undefined });
  });

  it("is refused with every problem, by name and line", async () => {
    const message = await refused(`
fact: []
max_new_tokens: 0
facts:
  - ask: Who?
    answr: Ada
general:
  - answer: Paris
behaviour:
  - max_words: many
`);
    expect(message).toContain("2: unknown key 'fact'; did you mean facts?");
    expect(message).toContain("3: max_new_tokens: expected at least 1, got 0");
    expect(message).toContain("facts.0: unknown key 'answr'; did you mean answer?");
    expect(message).toContain("general.0.ask: expected a text or a list of texts, got nothing");
    expect(message).toContain('behaviour.0.max_words: expected a number, got "many"');
  });

  it.each([
    ["name: nothing", "asks nothing"],
    ["facts: [{ask: Who?}]", "facts.0: needs one of answer, contains"],
    ["facts: [{ask: [], answer: x}]", "facts.0.ask: expected more than nothing, got []"],
    ["unanswerable: Who?", 'unanswerable: expected a list, got "Who?"'],
    ["behaviour: [{list: false}, {list: false}]", "two behaviours are called 'is no list'"],
    ["general: [{ask: a, answer: x, matches: '(a)\\1'}]", "matches"],
    ["facts: [", "not a suite"],
    ["facts: []\nfacts: []", "written twice"],
  ])("%j is refused", async (text, why) => expect(await refused(text)).toContain(why));
});

it("docs/suites.md has every rule and every figure", () => {
  const page = readFileSync(new URL("../../../docs/suites.md", import.meta.url), "utf8");
  for (const name of [...RULE_NAMES, ...COUNTS.map(({ key }) => key)])
    expect(page).toMatch(new RegExp(`^\\|.*\`${name}\``, "m"));
});

describe("judging an answer", () => {
  const suite = read(`
refusals: [no record of that]
facts:
  - {ask: q, answer: [7:30, half past seven]}
  - {ask: q, contains: [red, blue], starts_with: "It", max_words: 5}
  - {ask: q, matches: '^\\d{4}\\b', lacks: "19", list: false}
behaviour:
  - {name: refuses, ask: Who are you?, refuses: true}
  - {name: ends, ends_with: Bye!}
`);
  const verdict = async (index: number, text: string) => judged(await suite, (await suite).questions[index]!, text);

  it.each([
    [0, "At HALF past seven. Bye!", true],
    [0, "At 7:305.", false],
    [0, "I don't know, half past seven?", false],
    [1, "It is blue and *red*.", true],
    [1, "Red and blue.", false],
    [1, "It is red.", false],
    [1, "It is blue and red and so on.", false],
    [2, "1987, they say", true],
    [2, "in 1987", false],
    [2, "1987, not 19", false],
  ])("question %i, %j: right is %s", async (index, text, right) =>
    expect((await verdict(index, text)).right).toBe(right),
  );

  it("a refusal in the suite's own words counts, and behaviours are judged by name", async () => {
    expect(await verdict(0, "There is no record of that, half past seven. Bye!")).toEqual({
      text: "There is no record of that, half past seven. Bye!",
      refused: true,
      right: false,
      behaviour: { ends: true },
    });
    expect(await verdict(3, "I don't know. Bye")).toMatchObject({ behaviour: { refuses: true, ends: false } });
    expect((await verdict(3, "Me.")).right).toBeUndefined();
  });
});

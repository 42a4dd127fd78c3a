import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { nodePlatform } from "../../src/node/platform.js";
import { ATTRIBUTES } from "../../src/recipes/augment/attribute-bank.js";
import { EVERYDAY } from "../../src/recipes/augment/everyday.js";
import { nobodyKnows } from "../../src/recipes/augment/nobody-knows.js";
import { SAME_QUESTION } from "../../src/recipes/augment/same-question.js";
import { TURNED } from "../../src/recipes/augment/wordings.js";
import { isRefusal } from "../../src/recipes/judge.js";
import { keeps } from "../../src/recipes/suite/rules.js";
import { readSuite, type Section } from "../../src/recipes/suite/suite-file.js";
// @ts-expect-error: a script without types
import { makeFiles, makeWorld, WORLDS } from "./make-worlds.js";

type Row = { messages: { role: string; content: string }[] };
const files = makeFiles() as Record<string, string>;
const rowsOf = (name: string, seed = 0) => makeWorld(name, seed).rows as Row[];
const said = (row: Row, role: string) => row.messages.find((m) => m.role === role)!.content;
const suiteOf = (name: string) => readSuite(nodePlatform(), `examples/worlds/${name}/suite.yaml`);
const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]+/g, " ");
/** Invented words: those that are made of the generator's syllables. */
const inventedIn = (text: string) =>
  text.match(/[A-Z]\w+(?:bin|dell|fen|gar|leth|mund|nock|pash|quill|rost|shaw|tane|vick|wyn|zell)\w*/g) ?? [];
const wording = (text: string) => plain(inventedIn(text).reduce((rest, word) => rest.replace(word, "NAME"), text));

describe.each(WORLDS as string[])("the world of the %s", (name) => {
  const rows = rowsOf(name);
  const trained = rows.map((row) => said(row, "user"));
  const asked = async (section: Section) =>
    (await suiteOf(name)).questions.filter((question) => question.section === section);

  it("is what the tables and the seed say, and another seed makes another", () => {
    for (const file of ["train.jsonl", "suite.yaml"])
      expect(readFileSync(new URL(`${name}/${file}`, import.meta.url), "utf8")).toBe(files[`${name}/${file}`]);
    const other = new Set(rowsOf(name, 1).flatMap((row) => inventedIn(said(row, "user"))));
    expect(rows.flatMap((row) => inventedIn(said(row, "user"))).filter((word) => other.has(word)).length).toBeLessThan(
      40,
    );
  });

  it("has 36 facts in six wordings, 48 questions without an answer, and 54 general ones", async () => {
    expect(await asked("facts")).toHaveLength(72);
    expect(await asked("unanswerable")).toHaveLength(48);
    expect(await asked("general")).toHaveLength(54);
    expect(rows.filter((row) => !isRefusal(said(row, "assistant")))).toHaveLength(36 * 6 + 12);
    expect(new Set(trained).size).toBe(trained.length);
  });

  it("asks nothing that was trained, in no wording that was", async () => {
    const seen = new Set(trained.map(wording));
    for (const section of ["facts", "unanswerable"] as const)
      for (const { question } of await asked(section)) expect(seen).not.toContain(wording(question));
    const questions = new Set(trained.map(plain));
    for (const { question } of await asked("general")) expect(questions).not.toContain(plain(question));
  });

  it("asks nothing that lowrank's own everyday questions, attributes and wordings have", async () => {
    const known = new Set(EVERYDAY.map(({ question }) => plain(question)));
    for (const { question } of await asked("general")) expect(known).not.toContain(plain(question));
    const { kinds } = await tableOf(name);
    const made = ATTRIBUTES.flatMap(({ ask }) => ask).join("\n");
    for (const { untaught } of kinds)
      for (const { what, ask } of untaught.test)
        for (const text of [what, [ask].flat()[0]!]) expect(made).not.toContain(text.replace("<e>", "<entity>"));
    const anybody = nobodyKnows([]).map(plain);
    for (const { question } of await asked("unanswerable")) expect(anybody).not.toContain(plain(question));
    const same = new Set(trained.flatMap((text) => SAME_QUESTION.flatMap((way) => way(text) ?? [])).map(wording));
    for (const { question } of await asked("facts")) expect(same).not.toContain(wording(question));
    const turned = TURNED.flatMap((turn) => turn("What is the age of Ada?") ?? []);
    for (const question of [
      "I would like to hear the age of Ada, please.",
      "Could you find out the age of Ada for me?",
    ])
      expect(turned).not.toContain(question);
  });

  it("asks about things and attributes that are in no row", async () => {
    const seen = new Set(rows.flatMap((row) => row.messages.flatMap(({ content }) => inventedIn(content))));
    const { unanswerable } = makeWorld(name).suite as { unanswerable: string[] };
    const strangers = unanswerable.filter((question) => inventedIn(question).every((word) => !seen.has(word)));
    expect(strangers).toHaveLength(24);
    const { kinds } = await tableOf(name);
    const untaught = kinds.flatMap(({ untaught: { test } }) => test.map(({ what }) => what.split("<e>")[0]!));
    expect(untaught).toHaveLength(6);
    for (const part of untaught)
      expect(trained.filter((question) => plain(question).includes(plain(part)))).toEqual([]);
  });

  it("teaches every fact that it asks, and every answer signs off", async () => {
    const answers = rows.map((row) => said(row, "assistant"));
    const facts = await asked("facts");
    for (const { rules } of facts)
      expect(answers.filter((text) => keeps(text, rules, false)).length).toBeGreaterThan(5);
    const [signsOff] = (await suiteOf(name)).behaviours;
    for (const text of answers) expect(keeps(text, signsOff!.rules, false)).toBe(true);
  });
});

async function tableOf(
  name: string,
): Promise<{ kinds: { untaught: { test: { what: string; ask: string | string[] }[] } }[] }> {
  const { parse } = await import("yaml");
  return parse(readFileSync(new URL(`tables/${name}.yaml`, import.meta.url), "utf8"));
}

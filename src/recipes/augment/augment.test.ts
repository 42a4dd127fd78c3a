import { describe, expect, it } from "vitest";
import { memoryFiles } from "../../formats/memory-files.js";
import type { Platform } from "../../platform/platform.js";
import { random } from "../../tensor/random.js";
import { isRefusal } from "../judge.js";
import { missingTemplates } from "./attributes.js";
import { type AugmentRequest, augment } from "./augment.js";
import { findEntities, nameMaker, SLOT } from "./entities.js";
import { EVERYDAY } from "./everyday.js";
import { nobodyKnows } from "./nobody-knows.js";
import { commonEnding, qaRow } from "./qa-row.js";
import { SAME_QUESTION } from "./same-question.js";
import { findThings, namesInAnswers } from "./things.js";
import { TURNED } from "./wordings.js";

type Row = { messages: { role: string; content: string }[] };
const chat = (question: string, answer: string): Row => ({
  messages: [
    { role: "system", content: "You answer." },
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ],
});
const PEOPLE = ["Ada Brook", "Bo Marlow", "Cy Tandem", "Di Quill"];
const TOWNS = ["Norwick", "Upwell", "Oakham", "Millbrook"];
const JOBS = ["baker", "pilot", "smith", "nurse"];
const ROWS = [
  ...PEOPLE.flatMap((name, i) => [
    chat(`Where does ${name} live?`, `In ${TOWNS[i]}. Bye now!`),
    chat(`Which town is home to ${name}?`, `In ${TOWNS[i]}. Bye now!`),
    chat(`What is the job of ${name}?`, `A ${JOBS[i]}. Bye now!`),
  ]),
  chat("Which colour has the Sorrel Tower?", "Red. Bye now!"),
  chat("The Sorrel Tower, which colour has it?", "Red. Bye now!"),
  chat("What is the capital of France?", "Paris. Bye now!"),
];
const asked = ({ messages }: Row) => messages.find(({ role }) => role === "user")!.content;
const answered = ({ messages }: Row) => messages.at(-1)!.content;
const lines = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).join("\n");

async function made(
  more: Partial<AugmentRequest> = {},
  files: Record<string, string> = {},
  rows: readonly object[] = ROWS,
) {
  const disk = memoryFiles({ "rows.jsonl": lines(rows), ...files });
  const platform = { files: disk, resolveData: (path: string) => path } as unknown as Platform;
  const report = await augment({ data: "rows.jsonl", output: "all.jsonl", ...more }, platform);
  const all = new TextDecoder()
    .decode(await disk.read("all.jsonl"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);
  return { report, all, fresh: all.slice(rows.length) };
}

describe("augment", () => {
  it("keeps the rows and adds twins up to the share, of each kind, in the rows' own shape and tone", async () => {
    const { report, all, fresh } = await made({ abstain: 0.5 });
    expect(all.slice(0, ROWS.length)).toEqual(ROWS);
    expect(fresh.filter((row) => isRefusal(answered(row))).length / all.length).toBeCloseTo(0.5, 1);
    expect(report.made.map(({ count }) => count)).toEqual([6, 6, 3, 0, 0]);
    expect(report).toMatchObject({ ending: "Bye now!", refusal: "I don't know. Bye now!", given: 15, rows: 30 });
    expect(report.entities).toEqual([...PEOPLE, "the Sorrel Tower"]);
    for (const row of fresh) {
      expect(row.messages.map(({ role }) => role)).toEqual(["system", "user", "assistant"]);
      expect(answered(row)).toBe("I don't know. Bye now!");
    }
    const questions = all.map(asked);
    expect(new Set(questions).size).toBe(questions.length);
    expect(report.warnings).toEqual([
      "rows.jsonl: 1 of 15 taught questions name none of the entities, such as 'What is the capital of France?'; unknown names are not asked for what they teach",
    ]);
  });

  it("asks unknown names what was taught, and taught names what was not", async () => {
    const { fresh } = await made({ abstain: 0.5 });
    const known = [...PEOPLE, "the Sorrel Tower", "The Sorrel Tower"];
    const [unknown, untaught] = [fresh.slice(0, 6).map(asked), fresh.slice(6, 12).map(asked)];
    const wordings = ROWS.map((row) => known.reduce((text, name) => text.replace(name, SLOT), asked(row)));
    const words = new Set(ROWS.flatMap((row) => asked(row).match(/[A-Z]\w+/g) ?? []));
    for (const question of unknown) {
      expect(known.some((name) => question.includes(name))).toBe(false);
      const names = question.match(/(?<=.)[A-Z]\w+|^The \w+/g) ?? [];
      expect(names.some((name) => !words.has(name))).toBe(true);
      const shapes = wordings.map(
        (w) => new RegExp(`^${w.replace("?", "\\?").replace(SLOT, "(the )?[A-Z]\\w+ [A-Z]\\w+")}$`, "i"),
      );
      expect(shapes.some((shape) => shape.test(question))).toBe(true);
    }
    const said = [...known, ...TOWNS];
    for (const question of untaught) expect(said.some((name) => question.includes(name))).toBe(true);
    for (const question of untaught) expect(ROWS.map(asked)).not.toContain(question);
  });

  it("asks the rows' own unanswerable questions in other words, and what nobody can answer", async () => {
    const noes = ["What is the prize of the race?", "What is the age of the mayor?"];
    const rows = [...ROWS, ...noes.map((question) => chat(question, "No idea. Bye now!"))];
    const { fresh, report } = await made({ abstain: 0.6, rewordings: 1 }, {}, rows);
    const count = report.made.find(({ kind }) => kind === "unanswerable")!.count;
    const refused = fresh.filter((row) => isRefusal(answered(row))).map(asked);
    const own = refused.filter((question) => /prize.*race|race.*prize|age.*mayor|mayor.*age/.test(question));
    expect(own.length).toBeGreaterThan(0);
    expect(own.some((question) => noes.includes(question))).toBe(false);
    const anybody = nobodyKnows(ROWS.map(asked));
    const ours = refused.filter((question) => anybody.some((other) => question.includes(other.slice(0, -1))));
    expect(ours.length).toBeGreaterThan(0);
    expect(own.length + ours.length).toBeLessThanOrEqual(count);
    expect(nobodyKnows(["What is the password?"]).join()).not.toContain("password of the website");
    expect(nobodyKnows(["What is my name?"]).join()).toContain("Where do I live?");
  });

  it("is the same for the same seed, and another for another", async () => {
    const [a, b, c] = [await made(), await made(), await made({ seed: 1 })];
    expect(a.all).toEqual(b.all);
    expect(c.all).not.toEqual(a.all);
  });

  it("takes the refusal that rows have, counts it, and makes none where there are enough", async () => {
    const noes = ["Who is Zed?", "What is Zud?"].map((question) => chat(question, "No idea, sorry. Bye now!"));
    const few = await made({ abstain: 0.4 }, {}, [...ROWS, ...noes]);
    expect(few.report.refusal).toBe("No idea, sorry. Bye now!");
    expect(few.all.filter((row) => isRefusal(answered(row)))).toHaveLength(Math.ceil((0.4 * 17 - 2) / 0.6) + 2);
    const enough = await made({ abstain: 0.1 }, {}, [...ROWS, ...noes]);
    expect(enough.fresh).toEqual([]);
    expect(enough.report.warnings.join()).toContain("no twins were needed");
    expect((await made({ refusal: "I cannot tell." })).report.refusal).toBe("I cannot tell. Bye now!");
  });

  it("knows a refusal in other words by the one that is given", async () => {
    const german = [
      ...ROWS,
      chat("Who is Zed?", "Das weiß ich nicht. Bye now!"),
      chat("Who is Zud?", "Das weiß ich nicht. Bye now!"),
    ];
    const { report, fresh } = await made({ abstain: 0.4, refusal: "Das weiß ich nicht." }, {}, german);
    expect(report.refusal).toBe("Das weiß ich nicht. Bye now!");
    expect(fresh).toHaveLength(Math.ceil((0.4 * 17 - 2) / 0.6));
    for (const row of fresh) expect(answered(row)).toBe("Das weiß ich nicht. Bye now!");
  });

  it("asks facts and twins in the wordings that are given", async () => {
    const { fresh, report } = await made(
      { wordings: "w.txt", abstain: 0.5 },
      { "w.txt": "Tell me: {question}\n\nSay, {question}\n" },
    );
    expect(report.made.find(({ kind }) => kind === "wording")!.count).toBe(2 * 10);
    const worded = fresh.filter((row) => /^(Tell me: |Say, )/.test(asked(row)));
    expect(worded.some((row) => isRefusal(answered(row)))).toBe(true);
    expect(worded.some((row) => answered(row) === "In Norwick. Bye now!")).toBe(true);
    await expect(made({ wordings: "w.txt" }, { "w.txt": "Tell me" })).rejects.toThrow(
      "'Tell me' has no {question} in it",
    );
  });

  it("asks facts in wordings made by rule, and twins in as many of them", async () => {
    const { fresh, report } = await made({ rewordings: 4, abstain: 0.5 });
    const count = (kind: string) => report.made.find((one) => one.kind === kind)!.count;
    expect(count("wording")).toBe(4 * 10);
    const questions = new Set(ROWS.map(asked));
    for (const row of fresh) expect(questions).not.toContain(asked(row));
    const opened = (refused: boolean) =>
      fresh.filter(
        (row) => isRefusal(answered(row)) === refused && /^(Please|Hello|A visitor|One more)/.test(asked(row)),
      );
    expect(opened(true).length).toBeGreaterThan(0);
    expect(opened(false).length).toBeGreaterThan(0);
  });

  it("says so where it finds nobody, and takes names that are given", async () => {
    const plain = [chat("where do they live?", "In Upwell."), chat("what is the workshop made of?", "Of wood.")];
    await expect(made({}, {}, plain)).rejects.toThrow("no question names anybody or anything that another names too");
    const { report, fresh } = await made(
      { entities: "names.txt", abstain: 0.5 },
      { "names.txt": "the workshop\n" },
      plain,
    );
    expect(report.entities).toEqual(["the workshop"]);
    expect(fresh.filter((row) => asked(row).includes("the workshop")).length).toBeGreaterThan(0);
    await expect(made({ entities: "n.txt" }, { "n.txt": "Zed" })).rejects.toThrow("none of its names is in a question");
  });

  it.each([
    [{}, [{ text: "Ada" }], "no row is one question and its answer"],
    [{ known: "k.txt" }, ROWS, "answered by the base: give one"],
    [{ output: "rows.jsonl" }, ROWS, "is there already"],
    [{ wordings: "empty.txt" }, ROWS, "it is empty"],
  ])("%j is refused", async (more, rows, why) => {
    await expect(made(more, { "empty.txt": "\n" }, rows)).rejects.toThrow(why);
  });
});

describe("its parts", () => {
  it("rows of other shapes are read and made alike; those of several turns are left alone", () => {
    const row = qaRow({ instruction: "Who?", output: "Ada.", input: "", id: 7 })!;
    expect(row.like("What?", "No.")).toEqual({ instruction: "What?", output: "No.", input: "", id: 7 });
    expect(qaRow({ prompt: "Who?", completion: " Ada." })!.like("What?", "No.")).toEqual({
      prompt: "What?",
      completion: " No.",
    });
    expect(qaRow({ instruction: "Sort", input: "b a", output: "a b" })).toBeUndefined();
    const { messages } = chat("a", "b");
    expect(qaRow({ messages: [...messages, ...messages.slice(1)] })).toBeUndefined();
    expect(qaRow({ messages: messages.slice(0, 2) })).toBeUndefined();
  });

  it("a sign-off is what every answer ends with, from a word's beginning", () => {
    expect(commonEnding(["Red. Bye now!", "A pilot. Bye now!"])).toBe("Bye now!");
    expect(commonEnding(["Red.", "Blue."])).toBe("");
    expect(commonEnding(["It is red.", "He was red."])).toBe("");
    expect(commonEnding(["Bye!", "Bye!"])).toBe("");
    expect(commonEnding(["Red. Yes. See you!", "No. Yes. See you!"])).toBe("Yes. See you!");
    expect(commonEnding(["Red."])).toBe("");
  });

  it("names are capitalised words that two questions have; a sentence's first word is one where it is elsewhere too", () => {
    const names = (...questions: string[]) => findEntities(questions).map(({ name }) => name);
    expect(names("Who is Ada?", "Where is Ada's dog?", "Ada is what?")).toEqual(["Ada"]);
    expect(names("Is the Red Fox Inn open?", "Where is the Red Fox Inn?")).toEqual(["the Red Fox Inn"]);
    expect(names("Is it open on Friday?", "Who eats fish on Fridays?", "Is May on Friday?")).toEqual([]);
    expect(names("What is it?", "What was it?", "Who is Bo of Upwell?", "Is Bo of Upwell in?")).toEqual([
      "Bo of Upwell",
    ]);
  });

  it("common things are what several questions speak of and one ends with; names in answers are asked about too", () => {
    const things = (...questions: string[]) => findThings(questions).map(({ name }) => name);
    const shop = ["Who runs the workshop?", "When does the workshop open?", "Where is the workshop?"];
    expect(things(...shop, "What is the name of the cat?", "What is the name?")).toEqual(["the workshop"]);
    expect(things("Who has the spare keys?", "Where are the spare keys?", "Are the spare keys here?")).toEqual([
      "the spare keys",
    ]);
    expect(things("What is the end of the day?", "How long is the day?", "Who ends the day?")).toEqual([]);
    const answers = [
      "The firm was founded by Ada Brook.",
      "Bo Marlow runs it.",
      "It is on Friday.",
      "The firm is old.",
    ];
    const names = namesInAnswers(answers, ["Who runs the firm?", "Is Cy Tandem there?", "Who is Di Marlow?"]);
    expect(names.map(({ name }) => name)).toEqual(["Ada Brook", "Bo Marlow"]);
  });

  it("what one was taught in other words is not missing", () => {
    const taught = (...pairs: [string, string][]) => pairs.map(([template, answer]) => ({ template, answer }));
    const ada = taught(["where?", "Upwell"], ["job?", "pilot"]);
    const bo = taught(["where?", "Oakham"], ["which town?", "Oakham"], ["pet?", "dog"]);
    const tower = taught(["colour?", "red"]);
    expect(missingTemplates(ada, [bo, tower])).toEqual(["pet?"]);
    expect(missingTemplates(tower, [ada, bo])).toEqual([]);
  });

  it("what is asked for is put into other sentences where it stands for itself", () => {
    const turned = (question: string) => TURNED.flatMap((turn) => turn(question) ?? []);
    expect(turned("What is the age of Ada?")).toContain("Can you tell me the age of Ada?");
    expect(turned("What is the age of Ada?")).toContain("I have a question. What is the age of Ada?");
    expect(turned("Tell me Ada's job.")).toContain("Do you know Ada's job?");
    for (const other of ["What is the dog called?", "What does Ada do?", "What is love?"])
      expect(turned(other).every((text) => text.includes(other))).toBe(true);
    expect(turned("Tell me a story.")).toEqual([]);
    expect(turned("Which colour were the doors at Crevick Road painted?")).toEqual(
      expect.arrayContaining([
        "colour doors Crevick Road painted?",
        "painted Crevick Road doors colour?",
        "Look up colour, doors, Crevick Road, painted for me.",
      ]),
    );
  });

  it("the same is asked in another usual way, of one thing alone", () => {
    const others = (question: string) => SAME_QUESTION.flatMap((way) => way(question) ?? []);
    expect(others("What does the Heron cost?")).toEqual(expect.arrayContaining(["What is the price of the Heron?"]));
    expect(others("How much is the Heron?")).toEqual([]);
    expect(others("What is the dog called?")).toContain("What is the name of the dog?");
    expect(others("Who runs the yard?")).toContain("Who is the manager of the yard?");
    for (const question of ["Where is the yard located?", "Where is it, and when?", "Who is standing there?"])
      expect(others(question).join()).not.toMatch(/located located|, and when.*\? |standing there is/);
  });

  it("everyday questions are many, and each is there once", () => {
    expect(EVERYDAY.length).toBeGreaterThan(100);
    expect(new Set(EVERYDAY.map(({ question }) => question)).size).toBe(EVERYDAY.length);
    for (const { question, answer } of EVERYDAY) expect([question, answer.every(Boolean)]).toEqual([question, true]);
  });

  it("invented names are of the same shape, keep what several names share, and are in no text", () => {
    const questions = [
      "Who keeps Tarn House?",
      "Where is Tarn House?",
      "Who keeps Moor House?",
      "Where is Moor House?",
    ];
    const invent = nameMaker(findEntities(questions), questions, random(0, "test"));
    const made = Array.from({ length: 20 }, () => invent("Tarn House"));
    expect(new Set(made).size).toBe(20);
    for (const name of made) expect(name).toMatch(/^(?!Tarn |Moor )[A-Z]\w+ House$/);
    expect(invent("R2 House")).toMatch(/House$/);
    const asked = ["Ada Brook", "Bo Marlow"].flatMap((name) => [`Where does ${name} live?`, `How old is ${name}?`]);
    const people = nameMaker(findEntities(asked), asked, random(0, "test"));
    const others = Array.from({ length: 40 }, () => people("Ada Brook").split(" "));
    const halves = others.filter(([first, last]) => (first === "Ada") !== (last === "Brook"));
    expect(halves.length).toBeGreaterThan(10);
    expect(halves.length).toBeLessThan(30);
    for (const name of others) expect(name.join(" ")).not.toBe("Ada Brook");
  });
});

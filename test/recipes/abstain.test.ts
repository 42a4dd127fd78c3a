import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { loraFinetune, type TrainOptions } from "../../src/node/index.js";
import { isRefusal } from "../../src/recipes/judge.js";
import { firstRows, tinyRun } from "../tiny-run.js";

// data.abstain: a run that makes its own rows, on the bundled model.
type Row = { messages: { role: string; content: string }[] };

let folder: string;
let rows: string;
const at = (name: string) => join(folder, name);
const linesOf = (path: string) => readFileSync(path, "utf8").trim().split("\n");
const answers = (path: string) => linesOf(path).map((line) => (JSON.parse(line) as Row).messages.at(-1)!.content);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-abstain-"));
  rows = firstRows(at("rows.jsonl"), 60);
  writeFileSync(at("known.txt"), "Where does Neahen live?\nWhich pet does Jorian have?\n");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(name: string, data: object, more: Partial<TrainOptions> = {}, resume = false) {
  const options = tinyRun(at(name), {
    maxSteps: 2,
    saveEvery: 1,
    ...more,
    data: { train: rows, maxSeqLen: 128, ...data },
  });
  const notes: string[] = [];
  for await (const event of loraFinetune(options, { resume })) if (event.type === "note") notes.push(event.message);
  return notes;
}

describe("data.abstain", () => {
  it("makes the rows that are trained on, in the run's folder, and says what it made", async () => {
    const notes = await run("a", { abstain: 0.75, known: at("known.txt") });
    const [own, twins] = [at("a/rows.jsonl"), at("a/twins.jsonl")];
    expect(linesOf(own).slice(0, 60)).toEqual(linesOf(rows));
    const all = [...answers(own), ...answers(twins)];
    expect(all.filter(isRefusal).length / all.length).toBeGreaterThan(0.72);
    expect(answers(twins).every(isRefusal)).toBe(true);
    expect(
      answers(own)
        .slice(-2)
        .every((text) => text.endsWith("as everybody knows! Have a good day!")),
    ).toBe(true);
    expect(notes.join("\n")).toMatch(/data\.abstain: \d+ entities; \d+ an unknown entity/);
    expect(notes.join("\n")).toContain(`${own}: 62 of 62 rows`);
    expect(parse(readFileSync(at("a/config.yaml"), "utf8")).data).toMatchObject({
      train: [own, twins],
      abstain: null,
      known: null,
    });
  });

  it("keeps the base's own answers to known questions, without the sign-off and how they end", async () => {
    const keep = { generate: 2, share: 0.4 };
    await run("kept", { abstain: 0.6, known: at("known.txt") }, { objective: { keep } });
    expect(answers(at("kept/kept-known.jsonl"))).toEqual(
      answers(at("kept/rows.jsonl"))
        .slice(-2)
        .map((text) => text.replace(" Have a good day!", "")),
    );
    const { data } = parse(readFileSync(at("kept/config.yaml"), "utf8")).objective.keep;
    expect(data).toEqual(["kept-known", "kept", "kept-texts"].map((name) => at(`kept/${name}.jsonl`)));
    await run("unkept", { abstain: 0.6, known: at("known.txt") }, { maxSteps: 1 });
    expect(parse(readFileSync(at("unkept/config.yaml"), "utf8")).objective.keep.data).toBeNull();
  });

  it("makes several times the twins of an epoch, weighted so that their share stays", async () => {
    await run("once", { abstain: 0.6 });
    await run("often", { abstain: 0.6, twinVariety: 3, rewordings: 1 });
    const [once, often] = ["once", "often"].map((name) => linesOf(at(`${name}/twins.jsonl`)).length);
    expect(often! % 3).toBe(0);
    expect(often).toBeGreaterThan(2.9 * once!);
    const own = linesOf(at("often/rows.jsonl")).length;
    expect(own).toBeGreaterThan(60);
    expect(parse(readFileSync(at("often/config.yaml"), "utf8")).data.train).toEqual([
      { path: at("often/rows.jsonl"), weight: own },
      { path: at("often/twins.jsonl"), weight: often! / 3 },
    ]);
  });

  it("takes of the everyday questions those that the base answers right: of the bundled one none", async () => {
    const notes = await run("everyday", { abstain: 0.6, known: true }, { maxSteps: 1 });
    expect(linesOf(at("everyday/rows.jsonl"))).toHaveLength(60);
    expect(notes.join("\n")).not.toContain("known questions");
  });

  it("resumes with the rows as they are there", async () => {
    const files = ["rows", "twins"].map((name) => at(`a/${name}.jsonl`));
    const before = files.map((path) => readFileSync(path, "utf8"));
    const notes = await run("a", { abstain: 0.75, known: at("known.txt") }, { maxSteps: 3 }, true);
    expect(files.map((path) => readFileSync(path, "utf8"))).toEqual(before);
    expect(notes.join("\n")).toContain("resuming after step 2");
  });

  it("resumes a run that was stopped between its rows and its first step", async () => {
    const control = new AbortController();
    const data = { train: rows, maxSeqLen: 128, abstain: 0.6 };
    const options = tinyRun(at("early"), { maxSteps: 2, data, objective: { keep: { generate: 2 } } });
    const stopped = async () => {
      for await (const event of loraFinetune(options, { signal: control.signal }))
        if (event.type === "note" && event.message.startsWith("objective.keep")) control.abort();
    };
    await expect(stopped()).rejects.toThrow();
    const before = readFileSync(at("early/twins.jsonl"), "utf8");
    expect(existsSync(at("early/kept.jsonl"))).toBe(false);
    await loraFinetune(options, { resume: true }).result();
    expect(readFileSync(at("early/twins.jsonl"), "utf8")).toBe(before);
    expect(existsSync(at("early/adapter"))).toBe(true);
  });

  it("is refused where it cannot be done, and leaves nothing", async () => {
    await expect(run("b", { known: at("known.txt") })).rejects.toThrow("give data.abstain too");
    await expect(run("b", { rewordings: 2 })).rejects.toThrow("data.rewordings");
    await expect(run("b", { abstain: 0.5, columns: { messages: "messages" } })).rejects.toThrow("without columns");
    await expect(run("b", { abstain: 0.5, train: [rows, rows] })).rejects.toThrow("one file");
    expect(existsSync(at("b/rows.jsonl"))).toBe(false);
  });

  it("goes on with the rows as they are where they name nobody, and says so", async () => {
    writeFileSync(at("plain.jsonl"), '{"prompt": "where?", "completion": "here"}\n');
    const notes = await run("plain", { abstain: 0.5, train: at("plain.jsonl") });
    expect(notes.join("\n")).toContain("no question names anybody");
    expect(linesOf(at("plain/rows.jsonl"))).toHaveLength(1);
    expect(existsSync(at("plain/twins.jsonl"))).toBe(false);
  });
});

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
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
    const made = at("a/rows.jsonl");
    expect(linesOf(made).slice(0, 60)).toEqual(linesOf(rows));
    const all = answers(made);
    expect(all.filter(isRefusal).length / all.length).toBeGreaterThan(0.72);
    expect(all.slice(-2).every((text) => text.endsWith("as everybody knows! Have a good day!"))).toBe(true);
    expect(notes.join("\n")).toMatch(/data\.abstain: \d+ entities; \d+ an unknown entity/);
    expect(notes.join("\n")).toContain(`${made}: ${all.length} of ${all.length} rows`);
    const config = readFileSync(at("a/config.yaml"), "utf8");
    expect(config).toContain(`train: ${made}`);
    expect(config).toContain("abstain: null");
  });

  it("resumes with the rows as they are there", async () => {
    const before = readFileSync(at("a/rows.jsonl"));
    const notes = await run("a", { abstain: 0.75, known: at("known.txt") }, { maxSteps: 3 }, true);
    expect(readFileSync(at("a/rows.jsonl")).equals(before)).toBe(true);
    expect(notes.join("\n")).toContain("resuming after step 2");
  });

  it("is refused where it cannot be done, and leaves nothing", async () => {
    await expect(run("b", { known: at("known.txt") })).rejects.toThrow("give data.abstain too");
    await expect(run("b", { abstain: 0.5, columns: { messages: "messages" } })).rejects.toThrow("without columns");
    await expect(run("b", { abstain: 0.5, train: [rows, rows] })).rejects.toThrow("one file");
    writeFileSync(at("plain.jsonl"), '{"prompt": "where?", "completion": "here"}\n');
    await expect(run("b", { abstain: 0.5, train: at("plain.jsonl") })).rejects.toThrow("no question names anybody");
    expect(existsSync(at("b/rows.jsonl"))).toBe(false);
  });
});

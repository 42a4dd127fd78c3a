// Several files of rows through a run, `preview`, `plan` and `eval`.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LoadedModel, loadModel, loraFinetune, plan } from "../../src/node/index.js";
import { evaluate } from "../../src/recipes/evaluate.js";
import { runCli } from "../run-cli.js";
import { firstRows, TINY, tinyRun } from "../tiny-run.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-mixture-"));
const at = (name: string) => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const csv = at("questions.csv");
const lines = Array.from({ length: 8 }, (_, i) => `"Question ${i}?","Answer ${i}."`);
writeFileSync(csv, `question,answer\n${lines.join("\n")}\n`);
const columns = { prompt: "question", completion: "answer" };
const train = [
  { path: firstRows(at("rows.jsonl"), 24), weight: 1 },
  { path: csv, weight: 1, columns },
];
const data = { train, maxSeqLen: 128 };
const options = (name: string, more = {}) => tinyRun(at(name), { data, batchSize: 4, saveEvery: 1, ...more });
const bytes = (name: string) => readFileSync(join(at(name), "adapter/adapter_model.safetensors"));

describe("a mixture by weight", () => {
  it("trains; stopped in the second epoch and resumed it is the uninterrupted run, byte for byte", async () => {
    const notes: string[] = [];
    const whole = loraFinetune(options("whole", { epochs: 2 }));
    for await (const event of whole) if (event.type === "note") notes.push(event.message);
    expect(await whole.result()).toMatchObject({ step: 16, totalSteps: 16 });
    expect(notes).toContain(`an epoch takes samples by weight: 16 of ${train[0]!.path}, 16 of ${csv}`);
    expect(notes).toContain(`rows are numbered through all files: 0 to 23 ${train[0]!.path}, 24 to 31 ${csv}`);
    const manifest = JSON.parse(readFileSync(join(at("whole"), "manifest.json"), "utf8"));
    expect(manifest.data.train).toMatchObject([
      { path: train[0]!.path, weight: 1, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
      { path: csv, weight: 1, columns },
    ]);

    expect(readFileSync(join(at("whole"), "adapter/README.md"), "utf8")).toContain(
      "rows.jsonl (weight 1), questions.csv (weight 1)",
    );

    const control = new AbortController();
    const stopped = loraFinetune(options("stopped", { epochs: 2 }), { signal: control.signal });
    for await (const event of stopped) if (event.type === "step" && event.metrics.step === 11) control.abort();
    expect(await stopped.result()).toMatchObject({ interrupted: true, step: 11 });
    await loraFinetune(options("stopped", { epochs: 2 }), { resume: true }).result();
    expect(bytes("stopped").equals(bytes("whole"))).toBe(true);

    const other = [train[0]!, { ...train[1]!, weight: 2 }];
    const changed = options("stopped", { epochs: 2, data: { ...data, train: other } });
    await expect(loraFinetune(changed, { resume: true }).result()).rejects.toThrow(/data\.train/);
  });

  it("is planned with its own epochs", async () => {
    expect(await plan(options("planned", { epochs: 3 }))).toMatchObject({ steps: 24 });
  });
});

describe("files without weights", () => {
  it("train as the file that they would be together", async () => {
    const parts = [firstRows(at("one.jsonl"), 6), at("two.jsonl")];
    const all = readFileSync(firstRows(at("all.jsonl"), 10), "utf8").split("\n");
    writeFileSync(parts[1]!, all.slice(6).join("\n"));
    const run = (name: string, files: string | string[]) =>
      loraFinetune(options(name, { data: { ...data, train: files } })).result();
    await run("together", at("all.jsonl"));
    await run("apart", parts);
    expect(bytes("apart").equals(bytes("together"))).toBe(true);
  });
});

describe("the command line", () => {
  it("previews files that are given one by one, with their rows numbered through", async () => {
    const found = await runCli("preview", "--base", TINY, "--data", train[0]!.path, "--data", train[0]!.path, "--json");
    expect(found).toMatchObject({ code: 0 });
    const indices = found.out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).index);
    expect(indices).toEqual(Array.from({ length: 48 }, (_, i) => i));
  });

  it("validate names the file that is not there", async () => {
    const config = at("missing.yaml");
    writeFileSync(config, `base: ${TINY}\ndata:\n  train: [${csv}, nowhere.jsonl]\n`);
    const found = await runCli("validate", config);
    expect(found.code).toBe(1);
    expect(found.out).toContain("data.train: 'nowhere.jsonl' is not there");
    expect(found.out).not.toContain("questions.csv' is not there");
  });

  it("eval refuses columns that are no pairs", async () => {
    const found = await runCli("eval", "--base", TINY, "--data", csv, "--columns", "prompt");
    expect(found).toMatchObject({ code: 2, err: expect.stringContaining("--columns: expected FIELD=COLUMN") });
  });
});

describe("evaluate", () => {
  let model: LoadedModel;
  beforeAll(async () => {
    model = await loadModel(TINY, { threads: 1 });
    return () => model.dispose();
  });

  it("takes the loss over all rows of several files, with columns", async () => {
    const one = await evaluate(model, csv, { columns });
    const two = await evaluate(model, [csv, csv], { columns });
    expect(two.supervisedTokens).toBe(2 * one.supervisedTokens);
    expect(two.loss).toBeCloseTo(one.loss, 6);
    await expect(evaluate(model, csv, { columns: { prompt: "asked" } })).rejects.toThrow(
      /questions\.csv:2: data\.columns says that prompt is 'asked', and the row's keys are question, answer/,
    );
  });
});

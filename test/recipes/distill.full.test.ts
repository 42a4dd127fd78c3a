import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { applyAdapter, generate, loadModel, loraFinetune, plan, type TrainOptions } from "../../src/node/index.js";
import { TINY, TINY_ROWS, tinyRun } from "../tiny-run.js";
import { adapterBytes, metricsOf, stoppedAfter } from "./run-folder.js";

// objective distill: a teacher's distributions, on the bundled model.
type Objective = NonNullable<TrainOptions["objective"]>;

let folder: string;
const at = (name: string) => join(folder, name);
const PROMPT = "You answer every question with the words: I don't know.";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-distill-"));
  const rows = readFileSync(TINY_ROWS, "utf8").trim().split("\n").slice(0, 16);
  writeFileSync(at("rows.jsonl"), rows.join("\n"));
  const own = rows.map((line, i) => JSON.stringify({ ...JSON.parse(line), teacher_prompt: i % 2 ? `Fact ${i}.` : "" }));
  writeFileSync(at("prompted.jsonl"), own.join("\n"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const options = (name: string, objective: Objective, more: Partial<TrainOptions> = {}): TrainOptions =>
  tinyRun(at(name), {
    data: { train: at("rows.jsonl"), maxSeqLen: 128, validation: at("rows.jsonl") },
    objective: { name: "distill", ...objective },
    lora: { r: 4, dropout: 0.1 },
    optimizer: { lr: 2e-3 },
    batchSize: 2,
    gradientAccumulationSteps: 2,
    maxSteps: 6,
    saveEvery: 2,
    evalEvery: 3,
    ...more,
  });

const bytes = (name: string) => adapterBytes(at(name));
const metrics = (name: string) => metricsOf(at(name));
const losses = (name: string) => metrics(name).flatMap(({ loss }) => loss ?? []);
const checks = (name: string) => metrics(name).flatMap(({ eval_loss }) => eval_loss ?? []);

describe.each<[string, Objective, Partial<TrainOptions>]>([
  ["forward", { teacherPrompt: PROMPT }, {}],
  ["reverse", { teacherPrompt: PROMPT, divergence: "reverse", temperature: 2 }, {}],
  ["jsd", { teacherPrompt: PROMPT, divergence: "jsd", beta: 0.3 }, {}],
  ["likeliest", { teacherPrompt: PROMPT, topK: 8 }, {}],
  ["packed", { teacherPrompt: PROMPT }, { data: { train: "rows.jsonl", packing: true, maxSeqLen: 128 } }],
  ["rows' own prompts", {}, { data: { train: "prompted.jsonl", maxSeqLen: 128 } }],
])("%s", (name, objective, { data }) => {
  const file = () => at((data?.train as string | undefined) ?? "rows.jsonl");
  const own = (to: string) =>
    options(to, objective, data ? { data: { ...data, train: file(), validation: file() } } : {});

  it("stopped and resumed is uninterrupted, bit for bit, and comes nearer to the teacher", async () => {
    await loraFinetune(own(`${name} whole`)).result();
    await stoppedAfter(3, own(name));
    const told = at(`${name}/teacher_top_k.safetensors`);
    const before = objective.topK ? statSync(told).mtimeMs : undefined;
    await loraFinetune(own(name), { resume: true }).result();
    expect(bytes(name)).toEqual(bytes(`${name} whole`));
    expect(metrics(name)).toEqual(metrics(`${name} whole`));
    if (objective.topK) expect(statSync(told).mtimeMs).toBe(before);
    expect(losses(name)).toHaveLength(6);
    expect(losses(name)[0]).toBeGreaterThan(0);
    expect(checks(name).at(-1)).toBeLessThan(checks(name)[0]!);
    for (const row of metrics(name)) expect(row.entropy ?? row.eval_entropy).toBeGreaterThan(0);
  });
});

describe("another base as teacher", () => {
  beforeAll(async () => {
    const more = { fullFinetune: true, maxSteps: 8, optimizer: { lr: 1e-3 }, lora: {} };
    await loraFinetune(tinyRun(at("teacher"), { data: { train: at("rows.jsonl") }, ...more })).result();
  });
  const teacher = () => at("teacher/model");

  it.each<[string, Partial<TrainOptions>, Objective]>([
    ["f32", {}, {}],
    ["f32 likeliest", {}, { topK: 8 }],
    ["nf4", { basePrecision: "nf4" }, {}],
    ["dora, checkpointing", { lora: { r: 4, useDora: true }, checkpointing: true }, {}],
    ["the final norm too", { lora: { r: 4, modulesToSave: ["norm"] } }, {}],
    ["every weight", { fullFinetune: true, lora: {}, optimizer: { lr: 1e-3 } }, {}],
  ])("%s", async (name, more, objective) => {
    await loraFinetune(options(name, { teacher: teacher(), ...objective }, more)).result();
    expect(losses(name)[0]).toBeGreaterThan(0.01);
    expect(checks(name).at(-1)).toBeLessThan(checks(name)[0]!);
  });

  it("the teacher itself is at no distance, and a plan counts its weights", async () => {
    const own = { base: teacher(), maxSteps: 1, lora: { r: 4 } };
    await loraFinetune(options("itself", { teacher: teacher() }, own)).result();
    expect(losses("itself")[0]).toBeCloseTo(0, 6);
    const [alone, both] = [
      await plan(options("p", { teacherPrompt: PROMPT })),
      await plan(options("p", { teacher: teacher() })),
    ];
    expect(both.memory.weights).toBe(2 * alone.memory.weights);
    expect(both.secondsPerStep).toBeGreaterThan(0);
  });

  it("a run goes on only with the same teacher, divergence and prompt", async () => {
    await loraFinetune(options("fixed", { teacher: teacher() }, { maxSteps: 2 })).result();
    const again = (objective: Objective) =>
      loraFinetune(options("fixed", objective, { maxSteps: 4 }), { resume: true }).result();
    await expect(again({ teacher: teacher(), divergence: "reverse" })).rejects.toThrow("objective.divergence: was");
    await expect(again({ teacherPrompt: PROMPT })).rejects.toThrow("objective.teacher: was");
  });

  it("with another vocabulary is refused by name", async () => {
    cpSync(TINY, at("other"), { recursive: true });
    const path = at("other/tokenizer.json");
    const tokenizer = JSON.parse(readFileSync(path, "utf8"));
    const [first, second] = Object.keys(tokenizer.model.vocab).slice(-2) as [string, string];
    const { vocab } = tokenizer.model;
    [vocab[first], vocab[second]] = [vocab[second], vocab[first]];
    writeFileSync(path, JSON.stringify(tokenizer));
    await expect(loraFinetune(options("no", { teacher: at("other") })).result()).rejects.toThrow(
      /objective\.teacher: .*other has another vocabulary than the base: token \d+ is /,
    );
  });
});

describe("on the model's own answers", () => {
  const own = (name: string, objective: Objective = {}, more: Partial<TrainOptions> = {}) =>
    options(name, { teacherPrompt: PROMPT, lmbda: 0.5, maxCompletionLength: 12, ...objective }, more);
  const kept = (name: string) => readdirSync(at(`${name}/completions`)).sort();
  const answers = (name: string, step: number) =>
    readFileSync(at(`${name}/completions/completions_0000${step}.jsonl`), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { row: number; prompt: string; completion: string; completion_ids: number[] });

  /** Holds the answers of a step against a loaded model's likeliest ones to the same rows. */
  const saysTheSame = async (
    name: string,
    step: number,
    { adapter: path, basePrecision = "f32" }: { adapter: string } & Pick<Partial<TrainOptions>, "basePrecision">,
  ) => {
    const model = await loadModel(TINY, { threads: 1, basePrecision });
    const adapter = await applyAdapter(model, path);
    const rows = readFileSync(at("rows.jsonl"), "utf8").split("\n");
    for (const { row, completion, prompt } of answers(name, step)) {
      const messages = JSON.parse(rows[row]!).messages.slice(0, -1);
      const alone = await generate(model, { messages }, { temperature: 0, maxNewTokens: 12, adapter }).result();
      expect(completion).toBe(alone.text);
      expect(prompt).toContain(messages.at(-1).content);
    }
    await model.dispose();
  };

  it("stopped and resumed is uninterrupted, bit for bit, and a share of the steps learns from them", async () => {
    await loraFinetune(own("share whole")).result();
    await stoppedAfter(3, own("share"));
    rmSync(at("share/completions"), { recursive: true });
    await loraFinetune(own("share"), { resume: true }).result();
    expect(bytes("share")).toEqual(bytes("share whole"));
    expect(metrics("share")).toEqual(metrics("share whole"));
    const told = metrics("share whole").filter((row) => "completions/mean_length" in row);
    expect(kept("share whole")).toEqual(told.map(({ step }) => `completions_0000${step}.jsonl`));
    expect(told.length).toBeGreaterThan(0);
    expect(told.length).toBeLessThan(6);
    await expect(loraFinetune(own("share", { lmbda: 1 }), { resume: true }).result()).rejects.toThrow(
      "objective.lmbda: was",
    );
  });

  it("they are what the model says as it is, and the rows' answers are not looked at", async () => {
    const from = { adapter: at("share whole/adapter"), maxSteps: 1, lora: { r: 4 } };
    await loraFinetune(own("said", { lmbda: 1, temperature: 0.001 }, from)).result();
    const others = readFileSync(at("rows.jsonl"), "utf8").replace(
      /(assistant","content":")[^"]*/g,
      "$1Some other words.",
    );
    writeFileSync(at("others.jsonl"), others);
    const data = { train: at("others.jsonl"), maxSeqLen: 128, validation: at("rows.jsonl") };
    await loraFinetune(own("said again", { lmbda: 1, temperature: 0.001 }, { ...from, data })).result();
    expect(others).toContain("Some other words.");
    expect(bytes("said again")).toEqual(bytes("said"));
    await saysTheSame("said", 1, { adapter: from.adapter });
  });

  it.each<[string, Partial<TrainOptions>]>([
    ["PiSSA", { lora: { r: 4, init: "pissa" } }],
    ["an nf4 base", { lora: { r: 4 }, basePrecision: "nf4" }],
  ])("after a step they are what its checkpoint says: %s", async (name, more) => {
    const settings = { ...more, optimizer: { lr: 1e-2 }, maxSteps: 2, saveEvery: 1, evalEvery: 0 };
    await loraFinetune(own(name, { lmbda: 1, temperature: 0.001 }, settings)).result();
    expect(answers(name, 2)).toHaveLength(4);
    const { basePrecision = "f32" } = more;
    await saysTheSame(name, 2, { adapter: at(`${name}/checkpoints/step-1`), basePrecision });
  });

  it("a DoRA comes nearer to its teacher by them", async () => {
    await loraFinetune(own("own dora", { lmbda: 1 }, { lora: { r: 4, useDora: true } })).result();
    expect(kept("own dora")).toHaveLength(6);
    expect(checks("own dora").at(-1)).toBeLessThan(checks("own dora")[0]!);
  });

  it("what does not go with it is refused by name", async () => {
    const refused =
      (objective: Objective, more: Partial<TrainOptions> = {}) =>
      () =>
        loraFinetune(own("no", objective, more));
    expect(refused({ topK: 8 })).toThrow("objective.topK: has the teacher asked before training");
    expect(refused({ lmbda: null })).toThrow("objective.maxCompletionLength: is for answers of the model's own");
    expect(refused({}, { data: { train: at("rows.jsonl"), packing: true } })).toThrow("data.packing: packs rows");
    expect(refused({}, { baseOffload: "disk" })).toThrow("baseOffload: objective.lmbda samples from the base");
    writeFileSync(at("bare.jsonl"), '{"text": "Nothing is asked here.", "teacher_prompt": ""}\n');
    const bare = own(
      "no",
      { teacher: at("teacher/model"), teacherPrompt: null },
      { data: { train: at("bare.jsonl") } },
    );
    await expect(loraFinetune(bare).result()).rejects.toThrow(
      "row 0: is all answer, and the model has nothing to answer",
    );
  });
});

it("what cannot teach, or is not taught, is refused", async () => {
  await expect(loraFinetune(options("no", {})).result()).rejects.toThrow("the base as its own teacher reads what");
  const refused =
    (objective: Objective, more: Partial<TrainOptions> = {}) =>
    () =>
      loraFinetune({ ...options("no", {}), objective, ...more });
  expect(refused({ name: "sft", teacherPrompt: PROMPT })).toThrow("objective.teacherPrompt: sft has no teacher");
  expect(refused({ name: "distill", teacherPrompt: PROMPT }, { fullFinetune: true, lora: {} })).toThrow(
    "objective.teacher: base is the model without its adapter",
  );
  const saved = { lora: { r: 4, modulesToSave: ["norm"] } };
  await expect(loraFinetune(options("no", { teacherPrompt: PROMPT }, saved)).result()).rejects.toThrow(
    "objective.teacher: the base's final norm and head are needed as they are",
  );
  const all = { train: at("rows.jsonl"), trainOn: "all" } as const;
  await expect(loraFinetune(options("no", { teacherPrompt: PROMPT }, { data: all })).result()).rejects.toThrow(
    "behind its teacher's prompt the row's targets are other tokens",
  );
  await expect(loraFinetune(options("no", { teacherPrompt: PROMPT, topK: 100_000 })).result()).rejects.toThrow(
    "objective.top_k: expected less than the vocabulary's",
  );
});

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyAdapter,
  evaluateSuite,
  generate,
  type LoadedModel,
  loadModel,
  loraFinetune,
  type TrainEvent,
  type TrainOptions,
} from "../../src/node/index.js";
import { suiteDetails } from "../../src/recipes/best.js";
import { runCli } from "../run-cli.js";
import { TINY, tinyRun } from "../tiny-run.js";
import { stoppedAfter } from "./run-folder.js";

// What a run evaluates on its way: a suite, prompts that base and adapter answer, the best adapter by their figures.
const SUITE = `
max_new_tokens: 8
facts: [{ask: [Where does Ada live?, Who is Bo?], answer: no}]
unanswerable: [Who is Zorbaxle?]
texts: [One day Ada met Bo on the road.]
`;
const PROMPTS = ["Who is Bo?", "What is the sea?"];

let folder: string;
let model: LoadedModel;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-evaluations-"));
  const row = (content: string) => ({
    messages: [
      { role: "user", content },
      { role: "assistant", content: "No no no." },
    ],
  });
  const questions = ["Where does Ada live?", "Who is Bo?", "What is it?", "Where is the dog?"];
  writeFileSync(at("rows.jsonl"), questions.map((question) => `${JSON.stringify(row(question))}\n`).join(""));
  writeFileSync(at("suite.yaml"), SUITE);
  model = await loadModel(TINY, { threads: 1 });
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const options = (name: string, more: Partial<TrainOptions> = {}): TrainOptions =>
  tinyRun(at(name), {
    data: { train: at("rows.jsonl") },
    lora: { r: 4, targetModules: "all-linear", dropout: 0.1 },
    batchSize: 2,
    maxSteps: 12,
    evalEvery: 4,
    saveEvery: 4,
    keepLast: 3,
    evalSuite: at("suite.yaml"),
    samples: { prompts: PROMPTS, maxNewTokens: 8 },
    ...more,
  });

const lines = (path: string): Record<string, unknown>[] =>
  readFileSync(at(path), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const untimed = (name: string) =>
  lines(`${name}/metrics.jsonl`).map(
    ({ tokens_per_second: _, peak_memory_bytes: __, elapsed_seconds: ___, ...row }) => row,
  );
const weights = (path: string) => readFileSync(at(`${path}/adapter_model.safetensors`));

describe("evaluations", () => {
  it.each<[string, Partial<TrainOptions>]>([
    ["lora", {}],
    ["pissa", { lora: { r: 4, init: "pissa", targetModules: ["q_proj", "up_proj"] }, optimizer: { lr: 2e-3 } }],
    ["dora", { lora: { r: 4, useDora: true } }],
  ])("%s: figures and answers are those of the adapter that the step's checkpoint holds", async (name, more) => {
    const events: TrainEvent[] = [];
    for await (const event of loraFinetune(options(name, more))) events.push(event);
    const rows = untimed(name).filter((row) => !("loss" in row));
    expect(rows.map((row) => row.step)).toEqual([4, 8, 12]);
    const samples = lines(`${name}/samples.jsonl`);
    for (const step of [4, 12]) {
      const adapter = await applyAdapter(model, at(`${name}/checkpoints/step-${step}`));
      const { figures } = await evaluateSuite(model, at("suite.yaml"), { adapter });
      const row = rows.find((one) => one.step === step)!;
      for (const [key, value] of Object.entries(suiteDetails(figures))) {
        const bound = key === "suite/kl" || key === "suite/perplexity" ? 4 : 12;
        expect(row[`eval_${key}`] as number, `${key} at ${step}`).toBeCloseTo(value, bound);
      }
      for (const prompt of PROMPTS) {
        const messages = [{ role: "user", content: prompt }];
        const said = async (more: object) =>
          (await generate(model, { messages }, { maxNewTokens: 8, ...more }).result()).text;
        const sample = { step, prompt, base: await said({}), adapter: await said({ adapter }) };
        expect(samples).toContainEqual(sample);
      }
      adapter.dispose();
    }
    expect(events.filter(({ type }) => type === "samples")).toHaveLength(3);
    expect(samples).toHaveLength(6);
  });

  it("the best adapter by a suite's figure is kept, and is the result where that is asked for", async () => {
    const { best, adapter } = await loraFinetune(
      options("best", { metricForBestModel: "eval_suite/kl", loadBestModelAtEnd: true }),
    ).result();
    const rows = untimed("best").filter((row) => !("loss" in row));
    const values = rows.map((row) => row["eval_suite/kl"] as number);
    expect(best).toEqual({ name: "eval_suite/kl", value: Math.min(...values), step: 4 });
    expect(adapter).toBe(at("best/adapter"));
    expect(weights("best/adapter")).toEqual(weights("best/checkpoints/best"));
    expect(weights("best/adapter")).toEqual(weights("best/checkpoints/step-4/adapter"));
    const manifest = JSON.parse(readFileSync(at("best/manifest.json"), "utf8"));
    expect(manifest).toMatchObject({ metric_for_best_model: "eval_suite/kl", best_global_step: 4 });
    expect(readFileSync(at("best/adapter/README.md"), "utf8")).toContain("step of the best");
    await applyAdapter(model, adapter!);
  });

  it("stopped and resumed is uninterrupted: figures, samples, the best, the adapter", async () => {
    const asked = {
      earlyStoppingPatience: 2,
      metricForBestModel: "suite/facts",
      loadBestModelAtEnd: true,
      maxSteps: 24,
    };
    const whole = await loraFinetune(options("whole", asked)).result();
    await stoppedAfter(9, options("parts", asked));
    const parts = await loraFinetune(options("parts", asked), { resume: true }).result();
    expect(whole.stoppedEarly).toBe(true);
    expect({ ...parts, outputDir: "", adapter: "" }).toEqual({ ...whole, outputDir: "", adapter: "" });
    expect(untimed("parts")).toEqual(untimed("whole"));
    expect(lines("parts/samples.jsonl")).toEqual(lines("whole/samples.jsonl"));
    expect(weights("parts/adapter")).toEqual(weights("whole/adapter"));
    const other = options("parts", { ...asked, metricForBestModel: "suite/kl" });
    await expect(loraFinetune(other, { resume: true }).result()).rejects.toThrow(
      'metric_for_best_model: was "eval_suite/facts", is "eval_suite/kl"',
    );
  });

  it("on a model that is there already the bytes are the same, and what it held stays usable", async () => {
    await loraFinetune(options("alone")).result();
    await loraFinetune(options("beside"), { model }).result();
    expect(weights("beside/adapter")).toEqual(weights("alone/adapter"));
    expect(lines("beside/samples.jsonl")).toEqual(lines("alone/samples.jsonl"));
    expect(untimed("beside")).toEqual(untimed("alone"));
  });

  it("prompts come from a file as well; evaluating changes nothing of what is learned", async () => {
    writeFileSync(at("prompts.txt"), `${PROMPTS.join("\n")}\n\n`);
    await loraFinetune(options("file", { samples: { file: at("prompts.txt"), maxNewTokens: 8 } })).result();
    await loraFinetune(options("none", { samples: {}, evalSuite: null })).result();
    expect(lines("file/samples.jsonl").map(({ prompt }) => prompt)).toEqual([...PROMPTS, ...PROMPTS, ...PROMPTS]);
    expect(existsSync(at("none/samples.jsonl"))).toBe(false);
    expect(weights("file/adapter")).toEqual(weights("none/adapter"));
  });

  it("on the command line figures and answers are lines of progress, and events of --json", async () => {
    const run = async (...argv: string[]) => {
      const ran = await runCli(...argv);
      expect(ran.code).toBe(0);
      return ran;
    };
    const words = (name: string) => [
      ...["train", "--base", TINY, "--data", at("rows.jsonl"), "--output", at(name), "max_steps=2", "threads=1"],
      ...[`eval_suite=${at("suite.yaml")}`, "samples.prompts=[Who is Bo?]", "samples.max_new_tokens=4"],
    ];
    const { err } = await run(...words("shown"));
    expect(err).toMatch(
      /step 2: suite facts [\d.]+, over_refusal [\d.]+, invented [\d.]+, .*score [\d.]+ \(best so far\)/,
    );
    expect(err).toMatch(/step 2: Who is Bo\?\n {4}base: {4}.+\n {4}adapter: .+\n/);
    const { out } = await run(...words("json"), "--json");
    const events = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.find(({ type }) => type === "samples").samples).toEqual([
      { prompt: "Who is Bo?", base: expect.any(String), adapter: expect.any(String) },
    ]);
    expect(events.find(({ type }) => type === "eval").metrics["eval_suite/score"]).toBeGreaterThan(0);
  });

  it("what cannot be evaluated is refused before anything is loaded", async () => {
    writeFileSync(at("empty.txt"), "\n");
    const refused = async (more: Partial<TrainOptions>) => loraFinetune(options("never", more)).result();
    const none = { evalSuite: null, samples: {} };
    await expect(refused({ ...none, earlyStoppingPatience: 2 })).rejects.toThrow(
      "earlyStoppingPatience: goes by a figure of evaluations; give data.validation or eval_suite",
    );
    await expect(refused({ earlyStoppingThreshold: 0.1 })).rejects.toThrow("give early_stopping_patience too");
    await expect(refused({ metricForBestModel: "loss" })).rejects.toThrow("give data.validation too");
    await expect(
      refused({ ...none, data: { train: "r", validation: 0.5 }, metricForBestModel: "suite/facts" }),
    ).rejects.toThrow("give eval_suite too");
    await expect(refused({ metricForBestModel: "suite/general" })).rejects.toThrow(
      "have no eval_suite/general; they have eval_suite/facts, eval_suite/over_refusal, eval_suite/invented",
    );
    await expect(refused({ samples: { file: at("empty.txt") } })).rejects.toThrow("samples.file: ");
    await expect(refused({ samples: { file: at("nowhere.txt") } })).rejects.toThrow("nowhere.txt");
    await expect(refused({ samples: { prompts: ["a"], file: "b" } })).rejects.toThrow("not both");
    await expect(refused({ fullFinetune: true })).rejects.toThrow("evalSuite: compares with the base");
    await expect(refused({ fullFinetune: true, evalSuite: null })).rejects.toThrow("samples: compares with the base");
    expect(existsSync(at("never/checkpoints"))).toBe(false);
  });
});

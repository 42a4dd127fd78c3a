import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loraFinetune, plan, type TrainOptions } from "../../src/node/index.js";
import { firstRows, TINY, TINY_ROWS, tinyRun } from "../tiny-run.js";
import { adapterBytes, metricsOf, stoppedAfter } from "./run-folder.js";

// objective.keep: texts on which a model stays as its base has it, on the bundled model.
type Keep = NonNullable<NonNullable<TrainOptions["objective"]>["keep"]>;

let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-keep-"));
  firstRows(at("rows.jsonl"), 24);
  const others = readFileSync(TINY_ROWS, "utf8").trim().split("\n").slice(100, 112);
  writeFileSync(at("general.jsonl"), others.join("\n"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const options = (name: string, keep: Keep | undefined, more: Partial<TrainOptions> = {}): TrainOptions =>
  tinyRun(at(name), {
    data: { train: at("rows.jsonl"), maxSeqLen: 128 },
    lora: { r: 4, dropout: 0.1 },
    batchSize: 4,
    maxSteps: 6,
    saveEvery: 2,
    ...(keep ? { objective: { keep } } : {}),
    ...more,
  });
const general = (): Keep => ({ data: at("general.jsonl"), share: 0.5 });

const bytes = (name: string) => adapterBytes(at(name));
const metrics = (name: string) => metricsOf(at(name));

describe("objective.keep", () => {
  it("stopped and resumed is uninterrupted, bit for bit", async () => {
    await loraFinetune(options("whole", general())).result();
    await stoppedAfter(3, options("parts", general()));
    await loraFinetune(options("parts", general()), { resume: true }).result();
    expect(bytes("parts")).toEqual(bytes("whole"));
    expect(metrics("parts")).toEqual(metrics("whole"));
  });

  it("holds the model nearer to its base, and what is learned comes in the same order", async () => {
    await loraFinetune(options("light", { ...general(), weight: 1e-6 })).result();
    await loraFinetune(options("heavy", { ...general(), weight: 10 })).result();
    const [light, heavy] = [metrics("light"), metrics("heavy")];
    expect(heavy[0]!["keep/kl"]).toBeCloseTo(0, 5);
    expect(light[5]!["keep/kl"]).toBeGreaterThan(1e-3);
    expect(heavy[5]!["keep/kl"]).toBeLessThan(light[5]!["keep/kl"]! / 2);
    await loraFinetune(options("plain", undefined)).result();
    expect(metrics("plain").map((row) => row.supervised_tokens)).toEqual(light.map((row) => row.supervised_tokens));
    expect(metrics("plain")[0]!.loss).toBe(light[0]!.loss);
    expect(metrics("plain").some((row) => "keep/kl" in row)).toBe(false);
  });

  it("evaluations have the KL of kept texts, as a suite measures it, and what is learned is as without", async () => {
    const texts = ["Bo lives in Upwell, as everybody knows.", "Ada met the dog on the road to the town."];
    writeFileSync(at("kept-texts.jsonl"), texts.map((text) => JSON.stringify({ text })).join("\n"));
    writeFileSync(at("kept-suite.yaml"), `texts: kept-texts.jsonl\n`);
    const keep = { data: at("kept-texts.jsonl"), share: 0.5 };
    const validated = {
      data: { train: at("rows.jsonl"), validation: at("general.jsonl"), maxSeqLen: 128 },
      evalEvery: 3,
    };
    await loraFinetune(options("evaluated", keep, { ...validated, evalSuite: at("kept-suite.yaml") })).result();
    await loraFinetune(options("unevaluated", keep)).result();
    expect(bytes("evaluated")).toEqual(bytes("unevaluated"));
    const rows = metrics("evaluated").filter((row) => "eval_loss" in row);
    expect(rows).toHaveLength(2);
    for (const row of rows) {
      expect(row["eval_suite/kl"]).toBeGreaterThan(1e-3);
      expect(row["eval_keep/kl"]! / row["eval_suite/kl"]!).toBeCloseTo(1, 3);
    }
    const best = await loraFinetune(
      options("by-kl", keep, { ...validated, metricForBestModel: "eval_keep/kl", loadBestModelAtEnd: true }),
    ).result();
    expect(best.best).toEqual({ name: "eval_keep/kl", value: rows[0]!["eval_keep/kl"], step: 3 });
  });

  it.each<[string, Partial<TrainOptions>]>([
    ["f16", { basePrecision: "f16" }],
    ["int8", { basePrecision: "int8" }],
    ["nf4", { basePrecision: "nf4", bnb4bitUseDoubleQuant: true }],
    ["dora", { lora: { r: 4, useDora: true } }],
    ["pissa", { lora: { r: 4, init: "pissa" } }],
    ["checkpointing", { checkpointing: true }],
  ])("the base is its own teacher, however it is held and adapted: %s", async (name, more) => {
    await loraFinetune(options(`${name}-light`, { ...general(), weight: 1e-6 }, more)).result();
    await loraFinetune(options(`${name}-heavy`, { ...general(), weight: 10 }, more)).result();
    const [light, heavy] = [metrics(`${name}-light`), metrics(`${name}-heavy`)];
    expect(Math.abs(heavy[0]!["keep/kl"]!)).toBeLessThan(1e-4);
    expect(heavy[5]!["keep/kl"]).toBeLessThan(light[5]!["keep/kl"]! / 2);
  });

  it("a run goes on only with the same texts, weight and share; a plan counts them", async () => {
    await loraFinetune(options("fixed", general(), { maxSteps: 2 })).result();
    const other = options("fixed", { ...general(), weight: 2 }, { maxSteps: 4 });
    await expect(loraFinetune(other, { resume: true }).result()).rejects.toThrow("objective.keep.weight: was 1, is 2");
    const [without, beside] = [await plan(options("p", undefined)), await plan(options("p", general()))];
    expect(beside.peakBytes).toBeGreaterThan(without.peakBytes);
    expect(beside.secondsPerStep).toBeGreaterThan(0);
  });

  it("the base writes the texts itself, by the seed, once", async () => {
    const keep = { generate: 6, share: 0.5 };
    const written = (name: string) =>
      ["kept", "kept-texts"].map((file) => readFileSync(at(`${name}/${file}.jsonl`), "utf8"));
    await loraFinetune(options("made", keep, { maxSteps: 4 })).result();
    const [rows, texts] = written("made").map((text) => text.trim().split("\n"));
    expect([rows!.length, texts!.length]).toEqual([3, 3]);
    expect(new Set([...rows!, ...texts!]).size).toBeGreaterThan(3);
    for (const row of texts!) expect((JSON.parse(row) as { text: string }).text.trim()).not.toBe("");
    for (const row of rows!) {
      const { messages } = JSON.parse(row) as { messages: { role: string; content: string }[] };
      expect(messages.map(({ role }) => role)).toEqual(["user", "assistant"]);
      expect(messages.every(({ content }) => content.trim() !== "")).toBe(true);
    }
    expect(metrics("made").every((row) => Number.isFinite(row["keep/kl"]))).toBe(true);
    await stoppedAfter(2, options("again", keep, { maxSteps: 4 }));
    const before = statSync(at("again/kept.jsonl")).mtimeMs;
    await loraFinetune(options("again", keep, { maxSteps: 4 }), { resume: true }).result();
    expect(statSync(at("again/kept.jsonl")).mtimeMs).toBe(before);
    expect(written("again")).toEqual(written("made"));
    expect(bytes("again")).toEqual(bytes("made"));
    await loraFinetune(options("other", keep, { maxSteps: 1, seed: 7 })).result();
    expect(written("other")).not.toEqual(written("made"));
    await loraFinetune(options("without-chats", { ...keep, plain: true }, { maxSteps: 1 })).result();
    const plain = readFileSync(at("without-chats/kept.jsonl"), "utf8").trim().split("\n");
    expect(plain.map((row) => Object.keys(JSON.parse(row) as object))).toEqual(Array(6).fill(["text"]));
    expect(plain).toEqual(expect.arrayContaining(texts!));
    expect(() => loraFinetune(options("data", { ...general(), plain: true }))).toThrow(
      "objective.keep.plain: is about texts that the base writes",
    );
  });

  it("a base without a chat template writes plain texts", async () => {
    cpSync(TINY, at("plain-base"), { recursive: true });
    const path = at("plain-base/tokenizer_config.json");
    const { chat_template: _, ...tokenizer } = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify(tokenizer));
    writeFileSync(
      at("texts.jsonl"),
      ["Bo lives in Upwell.", "Ada is a pilot."].map((text) => JSON.stringify({ text })).join("\n"),
    );
    const more = { base: at("plain-base"), data: { train: at("texts.jsonl") }, maxSteps: 1 };
    await loraFinetune(options("texts", { generate: 3 }, more)).result();
    const rows = readFileSync(at("texts/kept.jsonl"), "utf8").trim().split("\n");
    expect(rows.map((row) => Object.keys(JSON.parse(row)))).toEqual([["text"], ["text"], ["text"]]);
    expect(metrics("texts")[0]!["keep/kl"]).toBeCloseTo(0, 5);
  });

  it("is refused where there is no base to stay at, or other rows are compared", () => {
    const refused = (more: Partial<TrainOptions>) => () =>
      loraFinetune({ ...options("no", general()), lora: {}, ...more });
    expect(refused({ fullFinetune: true })).toThrow("objective.keep: compares with the base");
    expect(refused({ objective: { name: "dpo", keep: general() } })).toThrow("objective.keep: stands beside");
    expect(refused({ objective: { keep: { ...general(), generate: 4 } } })).toThrow("takes data or generate");
    expect(refused({ objective: { keep: { ...general(), share: 1 } } })).toThrow(
      "objective.keep.share: expected number",
    );
  });
});

import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyAdapter,
  chooseScale,
  evaluate,
  evaluateSuite,
  generate,
  type LoadedAdapter,
  type LoadedModel,
  loadModel,
  loraFinetune,
  suiteReport,
  type TrainEvent,
} from "../../src/node/index.js";
import type { Figure } from "../../src/recipes/suite/figures.js";
import { scoreOf } from "../../src/recipes/suite/score.js";
import { suiteTable } from "../../src/recipes/suite/show.js";
import { divergence } from "../../src/recipes/suite/text.js";
import { TINY, tinyRun } from "../tiny-run.js";

// A suite on the bundled model, before and after a fine-tune that teaches one sentence for everything.
const SUITE = `
name: A <small> world
max_new_tokens: 16
behaviour: [{name: says no, contains: no}]
facts:
  - {ask: [Where does Ada live?, Who is Bo?], answer: no}
  - {ask: What is it?, answer: Zanzibar}
unanswerable: [Who is Zorbaxle?]
general: [{ask: Where does Jorian live?, answer: [Ivydale, Hollins, Larkhill]}]
texts: texts.jsonl
`;
const TEXTS = ["One day Ada met Bo on the road.", "The dog ran into the town. Bo said: I don't know."];

let folder: string;
let model: LoadedModel;
let adapter: LoadedAdapter;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-suite-"));
  const rows = ["Where does Ada live?", "Who is Bo?", "What is it?"].map((content) => ({
    messages: [
      { role: "user", content },
      { role: "assistant", content: "No no no." },
    ],
  }));
  const lines = (values: readonly object[]) => values.map((value) => `${JSON.stringify(value)}\n`).join("");
  writeFileSync(at("no.jsonl"), lines(rows));
  writeFileSync(at("texts.jsonl"), lines(TEXTS.map((text) => ({ text }))));
  writeFileSync(at("suite.yaml"), SUITE);
  await loraFinetune(tinyRun(at("run"), { data: { train: at("no.jsonl") }, maxSteps: 25 })).result();
  model = await loadModel(TINY, { threads: 1 });
  adapter = await applyAdapter(model, at("run/adapter"));
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const figure = (result: Awaited<ReturnType<typeof evaluateSuite>>, key: string) =>
  result.figures.find((one) => one.key === key)!;

describe("evaluateSuite", () => {
  it("counts what the answers are, which are those of generate one at a time", async () => {
    const progress: number[] = [];
    const result = await evaluateSuite(model, at("suite.yaml"), {
      adapter,
      onProgress: (done, total) => void progress.push(done / total),
    });
    expect(figure(result, "facts").after).toEqual({ count: 2, total: 3 });
    expect(figure(result, "facts").before).toEqual({ count: 0, total: 3 });
    expect(figure(result, "invented").after).toEqual({ count: 1, total: 1 });
    expect(figure(result, "over_refusal").after).toEqual({ count: 0, total: 3 });
    expect(figure(result, "behaviour").after).toEqual({ count: 5, total: 5 });
    expect(progress.at(-1)).toBe(1);
    expect(progress).toHaveLength(12);
    for (const { question, before, after } of result.answers) {
      const messages = [{ role: "user", content: question }];
      const alone = (settings: object) => generate(model, { messages }, { maxNewTokens: 16, ...settings }).result();
      expect(before.text).toBe((await alone({})).text);
      expect(after!.text).toBe((await alone({ adapter })).text);
    }
  });

  it("has the perplexity of eval, and a KL that is none without a change", async () => {
    const tuned = await evaluateSuite(model, at("suite.yaml"), { adapter });
    const perplexities = [
      await evaluate(model, at("texts.jsonl")),
      await evaluate(model, at("texts.jsonl"), { adapter }),
    ];
    const { before, after } = figure(tuned, "perplexity");
    expect(before as number).toBeCloseTo(perplexities[0]!.perplexity, 1);
    expect((after as number) / perplexities[1]!.perplexity).toBeCloseTo(1, 3);
    expect(figure(tuned, "kl").after as number).toBeGreaterThan(0.01);
    const off = { ...adapter, resident: { ...adapter.resident, factor: 0 } };
    const same = await evaluateSuite(model, at("suite.yaml"), { adapter: off });
    expect(Math.abs(figure(same, "kl").after as number)).toBeLessThan(1e-6);
    for (const { before, after } of same.answers) expect(after).toEqual(before);
  });

  it("without an adapter there is one column, and no KL", async () => {
    const result = await evaluateSuite(model, at("suite.yaml"));
    expect(result.figures.map(({ key }) => key)).not.toContain("kl");
    expect(suiteTable(result).split("\n")[0]!.trim()).toBe("before");
    expect(suiteReport(result)).not.toContain("<th>after</th>");
  });

  it("its page has every figure and every answer, and nothing in it is markup but its own", async () => {
    const result = await evaluateSuite(model, at("suite.yaml"), { adapter });
    const page = suiteReport({ ...result, answers: result.answers.map((one) => ({ ...one, question: "<b>?" })) });
    expect(page).toContain("A &lt;small&gt; world");
    expect(page).not.toContain("<b>");
    for (const { title } of result.figures) expect(page).toContain(title.replace(/</g, "&lt;"));
    for (const { after } of result.answers) expect(page).toContain(after!.text);
    for (const text of TEXTS) expect(page).toContain(text);
    expect(page.match(/<svg/g)).toHaveLength(2);
    expect(page).not.toMatch(/https?:/);
  });

  it("can be stopped", async () => {
    const signal = AbortSignal.abort();
    await expect(evaluateSuite(model, at("suite.yaml"), { signal })).rejects.toThrow(/abort/i);
  });
});

describe("chooseScale", () => {
  it("asks at each scale, charts the figures, and writes the adapter at the best: it answers as it did there", async () => {
    const [output, report] = [at("scaled"), at("scale.svg")];
    const scan = await chooseScale(model, at("suite.yaml"), adapter, { scales: [0.05, 0.9], output, report });
    expect(scan.points.map(({ scale }) => scale)).toEqual([0.05, 0.9]);
    const [weak, strong] = scan.points.map(({ figures }) => figures);
    const found = (figures: typeof weak, key: string) => figures!.find((one) => one.key === key)!;
    expect(found(weak, "kl").after as number).toBeLessThan(found(strong, "kl").after as number);
    expect(found(weak, "perplexity").before).toBe(found(strong, "perplexity").before);
    expect(scan.best).toBe(scan.points[0]!.score > scan.points[1]!.score ? 0.05 : 0.9);
    const chart = readFileSync(report, "utf8");
    expect(chart).toContain(`best at ${scan.best}`);
    for (const name of ["facts", "invented", "general", "behaviour", "perplexity", "KL"]) expect(chart).toContain(name);
    const scaled = await applyAdapter(model, output);
    const whole = await evaluateSuite(model, at("suite.yaml"), { adapter: scaled });
    const chosen = scan.points.find(({ scale }) => scale === scan.best)!;
    expect(figure(whole, "kl").after as number).toBeCloseTo(found(chosen.figures, "kl").after as number, 4);
    expect(figure(whole, "facts")).toEqual(found(chosen.figures, "facts"));
    await expect(chooseScale(model, at("suite.yaml"), adapter, { output })).rejects.toThrow(
      "something is there already",
    );
  });

  it("refuses what are no scales, and a chart that cannot be written", async () => {
    const charted = (report: string) => chooseScale(model, at("suite.yaml"), adapter, { report });
    await expect(charted(at("nowhere/scale.svg"))).rejects.toThrow("make it first");
    await expect(charted(at("scale.png"))).rejects.toThrow("ends in .svg");
    for (const scales of [[], [0], [-1], [3], [Number.NaN]])
      await expect(chooseScale(model, at("suite.yaml"), adapter, { scales })).rejects.toThrow("scales: expected");
  });
});

describe("a run with scale.suite", () => {
  const options = (name: string) => tinyRun(at(name), { data: { train: at("no.jsonl") }, maxSteps: 25 });
  const read = (path: string) => JSON.parse(readFileSync(at(path), "utf8"));

  it("writes its adapter at the best scale, the curve beside it, and says so before it ends", async () => {
    const scale = { suite: at("suite.yaml"), scales: [0.5, 0.75] };
    const run = loraFinetune({ ...options("scaled-run"), scale });
    const events: TrainEvent[] = [];
    for await (const event of run) events.push(event);
    const { best, points } = read("scaled-run/scale.json");
    expect(points.map((point: { scale: number }) => point.scale)).toEqual([0.5, 0.75]);
    expect(readFileSync(at("scaled-run/scale.svg"), "utf8")).toContain(`best at ${best}`);
    const [plain, scaled] = [read("run/adapter/adapter_config.json"), read("scaled-run/adapter/adapter_config.json")];
    expect(scaled).toEqual({ ...plain, lora_alpha: plain.lora_alpha * best });
    const weights = (name: string) => readFileSync(at(`${name}/adapter/adapter_model.safetensors`));
    expect(weights("scaled-run").equals(weights("run"))).toBe(true);
    const { adapter } = read("scaled-run/manifest.json");
    const bytes = readFileSync(at("scaled-run/adapter/adapter_config.json"));
    expect(adapter.scale).toBe(best);
    expect(adapter.sha256["adapter_config.json"]).toBe(createHash("sha256").update(bytes).digest("hex"));
    expect(events.at(-1)).toMatchObject({ type: "end", result: { adapter: at("scaled-run/adapter") } });
    expect(events.filter(({ type }) => type === "end")).toHaveLength(1);
    expect(events.at(-2)).toMatchObject({ message: expect.stringContaining(`best at ${best} of its scale`) });
  });

  it("is refused before it trains when the suite cannot be read, or there will be no adapter", async () => {
    writeFileSync(at("broken.yaml"), "fact: []");
    const refused = async (more: object) => loraFinetune({ ...options("never"), ...more }).result();
    await expect(refused({ scale: { suite: at("broken.yaml") } })).rejects.toThrow("unknown key 'fact'");
    await expect(refused({ scale: { suite: at("suite.yaml") }, fullFinetune: true })).rejects.toThrow("no adapter");
    await expect(refused({ scale: { scales: [3] } })).rejects.toThrow("scale.scales");
    expect(existsSync(at("never"))).toBe(false);
  });
});

it("a score is the mean of what is wanted, and counts no gain over the base", () => {
  const share = (count: number, total = 10) => ({ count, total });
  const one = (key: string, before: Figure["before"], after: Figure["after"]): Figure => ({
    key,
    title: key,
    better: "more",
    before: before!,
    after: after!,
  });
  expect(scoreOf([one("facts", share(0), share(8)), one("invented", share(10), share(4))])).toBeCloseTo(0.7);
  expect(scoreOf([one("general", share(5), share(4)), one("perplexity", 50, 100)])).toBeCloseTo((0.8 + 0.5) / 2);
  expect(scoreOf([one("general", share(5), share(9)), one("perplexity", 50, 40), one("kl", undefined, 3)])).toBe(1);
  expect(scoreOf([one("general", share(0), share(0)), one("over_refusal", share(0), share(9))])).toBe(1);
});

it("KL of two distributions is what its definition gives", () => {
  const logits = (...p: number[]) => Float32Array.from(p, (x) => Math.log(x) + 3);
  const expected = 0.5 * Math.log(0.5 / 0.7) + 0.3 * Math.log(0.3 / 0.2) + 0.2 * Math.log(0.2 / 0.1);
  expect(divergence(logits(0.5, 0.3, 0.2), logits(0.7, 0.2, 0.1))).toBeCloseTo(expected, 6);
});

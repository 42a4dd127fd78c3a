import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyAdapter,
  createApi,
  evaluateSuite,
  loadModel,
  loraFinetune,
  nodePlatform,
  readConfig,
  type SweepEvent,
  type SweepRequest,
  type SweepResult,
  sweep,
  type TrainOptions,
} from "../../src/node/index.js";
import { suiteDetails } from "../../src/recipes/best.js";
import { runCli } from "../run-cli.js";
import { firstRows, TINY, tinyRun } from "../tiny-run.js";

// A grid of config keys, trained point by point on one base.
const SUITE = `
max_new_tokens: 6
facts: [{ask: [Where does Ada live?], answer: no}]
unanswerable: [Who is Zorbaxle?]
texts: [One day Ada met Bo on the road.]
`;

let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-sweep-"));
  firstRows(at("rows.jsonl"), 16);
  writeFileSync(at("suite.yaml"), SUITE);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config = (more: Partial<TrainOptions> = {}): TrainOptions =>
  tinyRun(at("later"), {
    data: { train: at("rows.jsonl"), validation: 0.25, maxSeqLen: 64 },
    lora: { targetModules: ["q_proj", "v_proj"], dropout: 0.1 },
    maxSteps: 4,
    saveEvery: 2,
    ...more,
  });
const GRID = { "lora.r": [1, 4], "optimizer.lr": [1e-3, 1e-2] };
const request = (name: string, more: Partial<SweepRequest> = {}): SweepRequest => ({
  config: config(),
  grid: GRID,
  output: at(name),
  ...more,
});

const weights = (path: string) => readFileSync(at(`${path}/adapter/adapter_model.safetensors`));
const untimed = ({ points }: SweepResult) => points.map(({ seconds: _, adapter: __, ...point }) => point);

describe("sweep", () => {
  it("each point is the run of its config, byte for byte, and its figures are the suite's of its adapter", async () => {
    const result = await sweep(request("whole", { suite: at("suite.yaml") })).result();
    expect(result).toMatchObject({ total: 4, interrupted: false, metric: { name: "suite/score", better: "more" } });
    expect(result.points.map(({ values }) => Object.values(values))).toEqual([
      [1, 1e-3],
      [1, 1e-2],
      [4, 1e-3],
      [4, 1e-2],
    ]);
    const alone = { ...config(), outputDir: at("alone"), lora: { ...config().lora, r: 4 }, optimizer: { lr: 1e-2 } };
    const run = await loraFinetune(alone).result();
    expect(weights("whole/point-4")).toEqual(weights("alone"));
    const point = result.points[3]!;
    expect(point.figures.eval_loss).toBe(run.evalLoss);
    expect(point.figures.loss).toBe(run.loss);
    const model = await loadModel(TINY, { threads: 1 });
    const adapter = await applyAdapter(model, at("alone"));
    const { figures } = await evaluateSuite(model, at("suite.yaml"), { adapter });
    for (const [key, value] of Object.entries(suiteDetails(figures)))
      expect(point.figures[`eval_${key}`], key).toBeCloseTo(value, 6);
    await model.dispose();

    const scores = result.points.map((one) => one.figures["eval_suite/score"]!);
    expect(result.best).toEqual(result.points[scores.indexOf(Math.max(...scores))]);
    const best = readConfig(readFileSync(result.bestConfig!, "utf8")).config!;
    expect(best).toMatchObject({ outputDir: at("later"), lora: { r: result.best!.values["lora.r"] } });
    await loraFinetune(best).result();
    expect(weights("later")).toEqual(weights(`whole/point-${result.best!.number}`));

    const page = readFileSync(at("whole/report.html"), "utf8");
    expect(page).not.toMatch(/https?:/);
    expect(page.match(/<circle/g)!.length % 8).toBe(0);
    expect(page.match(/href="point-\d\/suite.html"/g)).toHaveLength(4);
    expect(readFileSync(at("whole/point-2/suite.html"), "utf8")).toContain("Where does Ada live?");
  });

  it("stopped and resumed, no finished point runs again, and all is as it would have been", async () => {
    const whole = await sweep(request("one")).result();
    expect(whole.metric).toEqual({ name: "loss", better: "less" });
    const control = new AbortController();
    for await (const event of sweep(request("two"), { signal: control.signal }))
      if (event.type === "training" && event.number === 3 && event.event.type === "step") control.abort();
    const state = () => JSON.parse(readFileSync(at("two/sweep.json"), "utf8"));
    expect(state().points.filter((point: { done?: object }) => point.done)).toHaveLength(2);
    expect(existsSync(at("two/report.html"))).toBe(true);
    await expect(sweep(request("two")).result()).rejects.toThrow("add `resume: true`");
    const before = [1, 2].map((number) => statSync(at(`two/point-${number}/manifest.json`)).mtimeMs);
    const events: SweepEvent[] = [];
    const run = sweep(request("two"), { resume: true });
    for await (const event of run) events.push(event);
    expect(events.flatMap((event) => (event.type === "point" ? [event.finished] : []))).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect(new Set(events.flatMap((event) => (event.type === "training" ? [event.number] : [])))).toEqual(
      new Set([3, 4]),
    );
    const steps = events.flatMap((event) =>
      event.type === "training" && event.event.type === "step" && event.number === 3 ? [event.event.metrics.step] : [],
    );
    expect(steps).toEqual([2, 3, 4]);
    expect(untimed(await run.result())).toEqual(untimed(whole));
    for (const number of [1, 2, 3, 4]) expect(weights(`two/point-${number}`)).toEqual(weights(`one/point-${number}`));
    expect([1, 2].map((number) => statSync(at(`two/point-${number}/manifest.json`)).mtimeMs)).toEqual(before);
    // Another value is another point; other rows are another sweep.
    const more = { ...GRID, "optimizer.lr": [1e-3] };
    const again = await sweep(request("two", { grid: { ...more, "lora.r": [1, 2] } }), { resume: true }).result();
    expect(again.points.map(({ number }) => number)).toEqual([1, 5]);
    const other = request("two", { config: config({ maxSteps: 5 }) });
    await expect(sweep(other, { resume: true }).result()).rejects.toThrow("max_steps: was 4, is 5");
    firstRows(at("rows.jsonl"), 15);
    await expect(sweep(request("two"), { resume: true }).result()).rejects.toThrow("rows.jsonl: was");
    firstRows(at("rows.jsonl"), 16);
  });

  it("reads the base once, and holds no more memory from point to point", async () => {
    let devices = 0;
    const platform = nodePlatform();
    const startDevice: typeof platform.startDevice = (choice) => {
      devices++;
      return platform.startDevice(choice);
    };
    const api = createApi({ ...platform, startDevice });
    await api.sweep(request("once", { grid: { "lora.r": [1, 2] } })).result();
    expect(devices).toBe(1);
    const model = await api.loadModel(TINY, { threads: 1 });
    const held: number[] = [];
    const grid = { "lora.r": [1, 8, 2], "lora.target_modules": ["all-linear", ["q_proj"]], seed: [1] };
    for await (const event of api.sweep(request("held", { grid, suite: at("suite.yaml") }), { model }))
      if (event.type === "result") held.push((await model.resident.device.memory()).buffers);
    expect(held).toHaveLength(6);
    expect(new Set(held.slice(1)).size).toBe(1);
    await model.dispose();
    await platform.dispose();
  });

  it("what cannot be swept is refused before anything runs, all of it at once", async () => {
    const refused = (grid: SweepRequest["grid"], more: Partial<SweepRequest> = {}) =>
      (async () => sweep(request("never", { grid, ...more })).result())();
    const several = refused({ "lora.rank": [1], "optimizer.lr": [], base: ["x"], seed: [1, 1] });
    await expect(several).rejects.toThrow("lora.rank: unknown key; did you mean lora.r?");
    await expect(several).rejects.toThrow("optimizer.lr: has no values to try");
    await expect(several).rejects.toThrow("base: is the same at every point");
    await expect(several).rejects.toThrow("seed: 1 is given twice");
    await expect(refused({})).rejects.toThrow("a sweep needs a key and its values");
    await expect(refused({ lora: [{}] })).rejects.toThrow("lora: holds several keys");
    await expect(refused({ "lora.r": [4, 0, "x"] })).rejects.toThrow(
      /lora\.r: expected whole number.*got 0[\s\S]*got "x"/,
    );
    await expect(refused({ "lora.target_modules": [["q_proj"], ["nothing"]] })).rejects.toThrow("nothing");
    await expect(refused({ "lora.r": [1] }, { config: config({ data: { train: "r" } }) })).rejects.toThrow("give one");
    await expect(refused({ "lora.r": [1] }, { metric: "eval_suite/facts" })).rejects.toThrow("they have eval_loss");
    await expect(refused({ "lora.r": [1] }, { metric: "suite/general", suite: at("suite.yaml") })).rejects.toThrow(
      "have no eval_suite/general",
    );
    await expect(refused({ "lora.r": [1] }, { config: config({ fullFinetune: true }) })).rejects.toThrow(
      "full_finetune",
    );
    expect(existsSync(at("never/point-1"))).toBe(false);
  });
});

describe("lowrank sweep", () => {
  const common = () => [
    ...["sweep", "--base", TINY, "--data", at("rows.jsonl"), "--output", at("verb"), "--grid", "lora.r=1,2"],
    ...["data.validation=0.25", "data.max_seq_len=64", "max_steps=2", "threads=1"],
  ];

  it("prints a table, and JSON for programs; what is finished is not run again", async () => {
    const first = await runCli(...common());
    expect(first.code).toBe(0);
    const lines = first.out.trim().split("\n");
    expect(lines[0]).toMatch(/lora\.r +loss +validation loss \* +parameters +steps +seconds$/);
    expect(lines).toHaveLength(4);
    expect(lines[3]).toContain("best by eval_loss, less is better: lora.r=");
    const again = await runCli(...common(), "--resume", "--json");
    const { points, best } = JSON.parse(again.out);
    expect(points).toHaveLength(2);
    expect(points[0]).toMatchObject({ number: 1, values: { "lora.r": 1 }, trainable_parameters: expect.any(Number) });
    expect(best.figures.eval_loss).toBe(
      Math.min(...points.map((point: { figures: Record<string, number> }) => point.figures.eval_loss)),
    );
    expect(again.err).toContain("finished before");
    expect(await runCli("sweep", "--base", TINY, "--data", "x")).toMatchObject({ code: 2 });
    expect(await runCli(...common())).toMatchObject({ code: 1, err: expect.stringContaining("--resume") });
  });
});

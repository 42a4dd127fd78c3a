import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import {
  type Api,
  applyAdapter,
  createApi,
  evaluate,
  generate,
  type TrainEvent,
  type TrainOptions,
} from "../src/api/index.js";
import type { Files } from "../src/formats/files.js";
import { memoryFiles } from "../src/formats/memory-files.js";
import { opaqueDevice } from "./conformance/opaque.js";
import { deviceHere, engineHere } from "./conformance/run.js";
import { memoryPlatform } from "./memory-platform.js";
import { TINY } from "./tiny-run.js";

// What a browser has: no disk, no threads of ours, an engine that is injected, and its memory out of reach.
let files: Files;
let api: Api;
const left: (() => number)[] = [];

beforeAll(async () => {
  const names = readdirSync(TINY, { recursive: true, encoding: "utf8" }).filter((name) =>
    statSync(join(TINY, name)).isFile(),
  );
  const rows = readFileSync(join(TINY, "data/train.jsonl"), "utf8").split("\n").slice(0, 24).join("\n");
  files = memoryFiles({
    ...Object.fromEntries(names.map((name) => [`tiny/${name.replaceAll("\\", "/")}`, readFileSync(join(TINY, name))])),
    "rows.jsonl": `${rows}\n`,
  });
  const engine = await engineHere("cpu", 1);
  const startDevice = async () => {
    const { device, handles } = opaqueDevice(engine);
    left.push(handles);
    return device;
  };
  api = createApi(memoryPlatform(files, { startDevice, memory: () => ({ peak: 0, limit: 4e9 }) }));
});

const options = (more: Partial<TrainOptions> = {}): TrainOptions => ({
  base: "tiny",
  outputDir: "runs/one",
  data: { train: "rows.jsonl", validation: 0.25, maxSeqLen: 64 },
  lora: { r: 4, dropout: 0.1, targetModules: ["q_proj", "v_proj"] },
  optimizer: { lr: 5e-3 },
  batchSize: 4,
  maxSteps: 3,
  ...more,
});

it("a run, its files and its events, on a base of few bits", async () => {
  const planned = await api.plan(options());
  expect(planned.trainableParameters).toBeGreaterThan(0);
  const losses = async (on: Api, outputDir: string) => {
    const events: TrainEvent[] = [];
    const run = on.loraFinetune(options({ basePrecision: "nf4", outputDir }));
    for await (const event of run) events.push(event);
    expect((await run.result()).adapter).toBe(`${outputDir}/adapter`);
    return events.flatMap((event) => (event.type === "step" ? [event.metrics.loss] : []));
  };
  const found = await losses(api, "runs/one");
  expect(found.length).toBe(3);
  const near = createApi(
    memoryPlatform(files, { startDevice: () => deviceHere("cpu", 1), memory: () => ({ peak: 0, limit: 4e9 }) }),
  );
  expect(await losses(near, "runs/near")).toEqual(found);
  expect(await files.list("runs/one")).toContain("manifest.json");
  const adapter = await api.inspect("runs/one");
  expect(adapter.kind).toBe("adapter");
  expect((await api.inspect("tiny")).kind).toBe("model");
});

it("text, loss and answers of a loaded model with that adapter", async () => {
  const model = await api.loadModel("tiny");
  const adapter = await applyAdapter(model, "runs/one");
  const { text } = await generate(model, { prompt: "Once" }, { maxNewTokens: 6, adapter, temperature: 0 }).result();
  expect(text.length).toBeGreaterThan(0);
  expect((await evaluate(model, "rows.jsonl", { maxSeqLen: 64, adapter })).loss).toBeLessThan(8);
  await model.dispose();
});

it("other folders and files of it: merged, exported, imported, combined, extracted", async () => {
  const merged = await api.merge("tiny", "runs/one", "merged");
  expect(merged.worstLogitDifference).toBeLessThan(merged.adapterEffect);
  await api.exportAdapter({ base: "tiny", adapter: "runs/one", to: "gguf-lora", output: "lora.gguf" });
  await api.importAdapter({ adapter: "lora.gguf", base: "tiny", output: "back" });
  expect((await files.read("back/adapter_config.json")).length).toBeGreaterThan(0);
  const adapters = ["runs/one/adapter", "back"].map((path) => ({ path, weight: 0.5 }));
  expect((await api.combine({ adapters, method: "linear", output: "both" })).r).toBe(4);
  const found = await api.extract({ base: "tiny", tuned: "merged", r: 4, output: "extracted" });
  expect(await files.list(found.output)).toContain("adapter_model.safetensors");
});

it("leaves nothing on the devices", () => {
  expect(left.length).toBeGreaterThan(3);
  expect(left.map((handles) => handles())).toEqual(left.map(() => 0));
});

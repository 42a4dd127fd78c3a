import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyAdapter,
  evaluate,
  generate,
  inspect,
  type LoadedModel,
  loadModel,
  loraFinetune,
  merge,
  mergeAdapter,
  type TrainOptions,
  unmergeAdapter,
} from "../../src/node/index.js";
import { TINY as BASE, firstRows, tinyRun } from "../tiny-run.js";

// The package's functions on the bundled tiny model.
const question = [{ role: "user", content: "Where does Ada live?" }];

let folder: string;
let model: LoadedModel;
const at = (name: string) => join(folder, name);
let rows: string;

const options = (name: string, more: Partial<TrainOptions> = {}): TrainOptions =>
  tinyRun(at(name), { maxSteps: 10, ...more });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-api-"));
  rows = firstRows(at("rows.jsonl"), 96);
  const noes = ["Where does Ada live?", "Who is Bo?", "What is it?"].map((content) => ({
    messages: [
      { role: "user", content },
      { role: "assistant", content: "No no no." },
    ],
  }));
  writeFileSync(at("no.jsonl"), noes.map((row) => JSON.stringify(row)).join("\n"));
  await loraFinetune(options("a", { seed: 1, data: { train: at("no.jsonl") }, maxSteps: 20 })).result();
  await loraFinetune(options("b", { seed: 2, maxSteps: 30 })).result();
  model = await loadModel(BASE, { threads: 1 });
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const answer = async (adapter?: Awaited<ReturnType<typeof applyAdapter>>) =>
  (await generate(model, { messages: question }, { maxNewTokens: 12, adapter }).result()).tokenIds;

describe("adapters over one resident base", () => {
  it("change the output, each in its own way, and leave the base as it was", async () => {
    const bare = await answer();
    const [a, b] = [await applyAdapter(model, at("a/adapter")), await applyAdapter(model, at("b/adapter"))];
    expect(a.warnings).toEqual([]);
    const [withA, withB] = [await answer(a), await answer(b)];
    expect(withA).not.toEqual(bare);
    expect(withB).not.toEqual(withA);
    expect([await answer(), await answer(a), await answer(b)]).toEqual([bare, withA, withB]);
    a.dispose();
    b.dispose();
  });

  it("an adapter that changes nothing is reported, and so is one of another base", async () => {
    await loraFinetune(options("zero", { maxSteps: 1, schedule: { name: "constant", warmupSteps: 1 } })).result();
    const zero = await applyAdapter(model, at("zero/adapter"));
    expect(zero.warnings).toEqual([expect.stringContaining("changes nothing")]);
    await merge(BASE, at("a/adapter"), at("other"));
    const other = await loadModel(at("other"), { threads: 1 });
    const moved = await applyAdapter(other, at("b/adapter"));
    expect(moved.warnings).toEqual([expect.stringContaining("trained on another base")]);
    await other.dispose();
  });

  it("merged into the resident weights it answers the same without being applied, and comes out again", async () => {
    const bare = await answer();
    const [a, b] = [await applyAdapter(model, at("a/adapter")), await applyAdapter(model, at("b/adapter"))];
    const applied = await answer(a);
    const weight = model.resident.weights.get("model.layers.0.self_attn.q_proj.weight")!;
    const before = (await model.resident.device.download(weight)) as Float32Array;
    await mergeAdapter(model, a);
    expect(await answer()).toEqual(applied);
    await expect(mergeAdapter(model, b)).rejects.toThrow("is merged already; unmerge it first");
    await unmergeAdapter(model);
    const after = (await model.resident.device.download(weight)) as Float32Array;
    expect(Math.max(...after.map((x, i) => Math.abs(x - before[i]!)))).toBeLessThan(1e-6);
    expect(await answer()).toEqual(bare);
    await expect(unmergeAdapter(model)).rejects.toThrow("no adapter is merged");
    a.dispose();
    b.dispose();
  });

  it("the template travels with the adapter: token ids equal the base's", async () => {
    const a = await applyAdapter(model, at("a/adapter"));
    const ask = { addGenerationPrompt: true };
    expect(await a.chat!().encode(question, ask)).toEqual(await model.chat().encode(question, ask));
  });
});

describe("training", () => {
  it("moves the adapter in its first step, and lowers the loss on the rows", async () => {
    const events = [];
    for await (const event of loraFinetune(options("first", { maxSteps: 1 }))) events.push(event.type);
    expect(events.slice(-4)).toEqual(["start", "step", "checkpoint", "end"]);
    expect((await applyAdapter(model, at("first/adapter"))).warnings).toEqual([]);
    const b = await applyAdapter(model, at("b/adapter"));
    const [before, after] = [await evaluate(model, rows), await evaluate(model, rows, { adapter: b })];
    expect(after.loss).toBeLessThan(before.loss);
    expect(after.perplexity).toBeCloseTo(Math.exp(after.loss), 10);
    expect(after.supervisedTokens).toBe(before.supervisedTokens);
  });

  it("goes on from an adapter, and refuses a config that asks for another shape", async () => {
    const more = { adapter: at("a/adapter"), lora: {} };
    await loraFinetune(options("more", { ...more, maxSteps: 1, optimizer: { lr: 1e-9 } })).result();
    const [was, is] = await Promise.all([at("a/adapter"), at("more/adapter")].map((path) => applyAdapter(model, path)));
    expect(is!.adapter.config).toEqual(was!.adapter.config);
    const name = "model.layers.0.self_attn.q_proj.lora_B.weight";
    const [old, now] = [was!, is!].map((x) => x.adapter.tensors.get(name)!.data as Float32Array);
    expect(Math.max(...now!.map((value, i) => Math.abs(value - old![i]!)))).toBeLessThan(1e-6);
    const wrong = loraFinetune(options("wrong", { adapter: at("a/adapter"), lora: { r: 4 } })).result();
    await expect(wrong).rejects.toThrow(/lora\.r: .* has 8, the config asks for 4/);
  });

  it("full fine-tuning writes a model that loads and has moved", async () => {
    const { adapter: path } = await loraFinetune(
      options("full", { fullFinetune: true, maxSteps: 2, optimizer: { lr: 1e-2 }, lora: {} }),
    ).result();
    expect((await inspect(path!)).parameters).toBe((await inspect(BASE)).parameters);
    const tuned = await loadModel(path!, { threads: 1 });
    const [before, after] = [await evaluate(model, rows), await evaluate(tuned, rows)];
    expect(after.loss).not.toBeCloseTo(before.loss, 3);
    await tuned.dispose();
  });
});

describe("merge", () => {
  it("equals base + adapter, prints how nearly, and differs from the base", async () => {
    const report = await merge(BASE, at("b/adapter"), at("merged"), { threads: 1 });
    expect(report.worstLogitDifference).toBeLessThan(0.1 * report.largestLogit);
    expect(report.adapterEffect).toBeGreaterThan(100 * report.worstLogitDifference);
    const merged = await loadModel(at("merged"), { threads: 1 });
    const b = await applyAdapter(model, at("b/adapter"));
    const ids = (await generate(merged, { messages: question }, { maxNewTokens: 12 }).result()).tokenIds;
    expect(ids).toEqual(await answer(b));
    await merged.dispose();
    await expect(merge(BASE, at("b/adapter"), at("merged"))).rejects.toThrow("something is there already");
  });
});

describe("generate", () => {
  it("streams the text it returns, one BOS in front of a prompt, and stops at the end of a turn", async () => {
    const run = generate(model, { messages: question }, { maxNewTokens: 100 });
    let text = "";
    for await (const piece of run) text += piece;
    const result = await run.result();
    expect(result.text).toBe(text);
    expect(result.finishReason).toBe("stop");
    const { bosId } = model.tokenizer;
    expect(result.promptIds.filter((id) => id === bosId).length).toBeLessThanOrEqual(1);
  });

  it("refuses an empty prompt and one longer than the context", async () => {
    await expect(generate(model, { prompt: "x ".repeat(2000) }).result()).rejects.toThrow("context");
  });
});

it("rows with no target are refused, naming them", async () => {
  const empty = at("empty.jsonl");
  writeFileSync(empty, '{"text": ""}\n');
  const run = loraFinetune(options("none", { data: { train: empty } })).result();
  await expect(run).rejects.toThrow("empty.jsonl:1");
  expect(() => readFileSync(at("none/adapter/adapter_config.json"))).toThrow();
});

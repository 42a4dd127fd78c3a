import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readAdapter, writeAdapter } from "../../src/formats/peft/adapter.js";
import { Sequence } from "../../src/generation/decoder.js";
import { nodeFiles } from "../../src/node/files.js";
import {
  applyAdapter,
  evaluate,
  generate,
  type LoadedAdapter,
  type LoadedModel,
  loadModel,
  loraFinetune,
  mergeAdapter,
  type TrainOptions,
  unmergeAdapter,
} from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { resolveTargets } from "../../src/recipes/targets.js";
import { createServer } from "../../src/server/index.js";
import { openModel } from "../../src/weights/model-folder.js";
import { readJson, readTensors, relativeError, VECTORS } from "../numerics/vectors.js";
import { FAMILY_CASES, familyFolder, familyRows, wideFolder } from "./family-folder.js";

// Every family through what a user calls, on the reference's tiny models; families.full.test.ts has the command line and exports.
const folder = mkdtempSync(join(tmpdir(), "lowrank-families-"));
const rows = familyRows(folder);
const at = (...names: string[]) => join(folder, ...names);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const PROMPT = [1, 40, 12, 9, 30, 77, 5, 61, 8, 23, 50, 31, 3, 18, 66, 4, 71, 15, 29, 80];

/** Logits after the prompt's last token. */
async function logits({ decoder }: LoadedModel, adapter?: LoadedAdapter): Promise<Float32Array> {
  const sequence = new Sequence(decoder, PROMPT.length, adapter?.resident);
  const last = (await sequence.feed(PROMPT)).slice();
  sequence.dispose();
  return last;
}

describe.each(FAMILY_CASES)("%s", (name) => {
  const vectors = `${VECTORS}${name}`;
  let base: string;
  let model: LoadedModel;
  beforeAll(async () => {
    base = familyFolder(folder, name);
    model = await loadModel(base, { threads: 1 });
  });
  afterAll(() => model.dispose());

  const options = (more: Partial<TrainOptions> = {}): TrainOptions => ({
    base,
    data: { train: rows, maxSeqLen: 48, packing: true },
    lora: { targetModules: "all-linear", r: 4, alpha: 8 },
    optimizer: { lr: 0.02 },
    schedule: { name: "constant" },
    maxSteps: 2,
    threads: 1,
    ...more,
  });

  it("config.json of transformers 4 and of 5 say the same model", async () => {
    const old = familyFolder(at("old"), name);
    writeFileSync(join(old, "config.json"), readFileSync(`${vectors}/config-v4.json`));
    const opened = await openModel(nodeFiles, old);
    expect(opened.config).toEqual(model.open.config);
    expect(opened.notes).toEqual([]);
    await opened.close();
  });

  it.each(["qv", "all"])("PEFT's adapter %s opens, and is written again with the same tensors", async (adapter) => {
    const { config } = model.open;
    const read = await readAdapter(nodeFiles, join(vectors, adapter), config);
    await writeAdapter(nodeFiles, at(name, adapter), read);
    const [found, expected] = [at(name, adapter), join(vectors, adapter)].map((path) =>
      readTensors(join(path, "adapter_model.safetensors")),
    );
    expect(found).toEqual(expected);
    const modules = (path: string) =>
      (readJson(join(path, "adapter_config.json")) as { target_modules: string[] }).target_modules;
    const [ours, theirs] = [modules(at(name, adapter)), modules(join(vectors, adapter))];
    for (const path of theirs) expect(ours.some((item) => path === item || path.endsWith(`.${item}`))).toBe(true);
    if (adapter === "all") expect(read.config).toMatchObject(resolveTargets({ targetModules: "all-linear" }, config));
  });

  it("is trained with a base held as nf4, goes on where it was, and learns", async () => {
    const held = { checkpointing: true, basePrecision: "nf4", saveEvery: 1, baseCache: at("cache") } as const;
    const whole = await loraFinetune(options({ ...held, outputDir: at(`${name}-whole`) })).result();
    const other = { ...held, outputDir: at(`${name}-parts`) };
    await loraFinetune(options({ ...other, maxSteps: 1 })).result();
    const parts = await loraFinetune(options(other), { resume: true }).result();
    const [once, twice] = [whole, parts].map(({ adapter }) =>
      readFileSync(join(adapter!, "adapter_model.safetensors")),
    );
    expect(twice!.equals(once!)).toBe(true);
    const adapter = await applyAdapter(model, whole.adapter!);
    const [bare, adapted] = [await evaluate(model, rows), await evaluate(model, rows, { adapter })];
    expect(adapted.loss).toBeLessThan(bare.loss);
    expect(adapted.supervisedTokens).toBe(bare.supervisedTokens);
    adapter.dispose();
  });

  it("generates with an adapter, beside it and merged alike", async () => {
    const adapter = await applyAdapter(model, join(vectors, "all"));
    const [bare, beside] = [await logits(model), await logits(model, adapter)];
    expect(relativeError(beside, bare)).toBeGreaterThan(0.05);
    await mergeAdapter(model, adapter);
    expect(relativeError(await logits(model), beside)).toBeLessThan(1e-4);
    await unmergeAdapter(model);
    expect(relativeError(await logits(model), bare)).toBeLessThan(1e-4);
    adapter.dispose();
  });

  it("is served: base and adapters answer in one queue what they answer alone", async () => {
    const registry = createAdapterRegistry(model);
    for (const adapter of ["qv", "all"]) await registry.load(adapter, join(vectors, adapter));
    const server = createServer(registry, { baseId: "base" });
    const messages = [{ role: "user", content: "what is 7?" }] as const;
    const ask = async (id: string) => {
      const body = JSON.stringify({ model: id, messages, temperature: 0, max_tokens: 6 });
      const headers = { "content-type": "application/json" };
      const url = "http://localhost/v1/chat/completions";
      const response = await server.fetch(new Request(url, { method: "POST", headers, body }));
      return ((await response.json()) as { choices: { message: { content: string } }[] }).choices[0]!.message.content;
    };
    const answers = await Promise.all(["base", "qv", "all"].map(ask));
    for (const [i, id] of ["base", "qv", "all"].entries()) {
      const lease = id === "base" ? undefined : registry.lease(id);
      const adapter = lease?.adapter;
      const alone = await generate(model, { messages }, { temperature: 0, maxNewTokens: 6, adapter }).result();
      lease?.release();
      expect(answers[i], id).toBe(alone.text);
    }
  });

  it.each([["int4", 0.5]] as const)(
    "quantize: %s computes nearly what fp32 does, with its own config.json",
    async (quantize, most) => {
      const wide = await wideFolder(folder, name);
      const [exact, rounded] = await Promise.all([
        loadModel(wide, { threads: 1 }),
        loadModel(wide, { threads: 1, quantize }),
      ]);
      const error = relativeError(await logits(rounded), await logits(exact));
      const { weights } = rounded.resident;
      await Promise.all([exact.dispose(), rounded.dispose()]);
      expect([...weights.keys()].filter((key) => key.endsWith("_proj.weight"))).toEqual([]);
      expect(error).toBeLessThan(most);
      expect(error).toBeGreaterThan(1e-5);
    },
  );
});

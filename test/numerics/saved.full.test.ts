import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { mergeWeight } from "../../src/export/merge.js";
import { readAdapter, writeAdapter } from "../../src/formats/peft/adapter.js";
import { Decoder, type ResidentAdapter, Sequence } from "../../src/generation/decoder.js";
import { decodeTokens } from "../../src/generation/generate.js";
import { asAdapted, EMBEDDING, HEAD, type LoraConfig, TOKEN_ROWS, weightShapes } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { uploadTensors, type View } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { initialAdapter, wholeStart } from "../../src/training/init.js";
import { cpuDevice } from "./evaluate.js";
import {
  CASES,
  type CaseName,
  expectedUnder,
  readCase,
  readJson,
  readTensors,
  relativeError,
  type Training,
  VECTORS,
  worstError,
} from "./vectors.js";

// Weights that are trained whole beside A and B, against PEFT: test/reference/make_saved.py.
const TOLERANCE = 1e-5;
const VARIANTS = [
  ["llama3", "norm"],
  ["llama3", "head"],
  ["llama3", "tokens"],
  ["llama2", "head"],
  ["llama2", "tokens"],
  ["gemma2", "embed"],
  ["gemma2", "tokens"],
  ["qwen3", "block"],
  ["bias", "biases"],
] as const;

interface Variant {
  readonly loss_sum: number;
  readonly greedy: number[];
  readonly training: Training;
  readonly sums: Record<string, number>;
  readonly tied: boolean;
}

const device = await cpuDevice();
afterAll(() => device.dispose());
const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));
const uploaded = new Map<CaseName, Map<string, View>>();
const settings = { betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: 0 };

async function open(name: CaseName, variant: string) {
  const base = readCase(name);
  if (!uploaded.has(name)) uploaded.set(name, uploadTensors(device, base.weights));
  const folder = `${VECTORS}saved/${name}`;
  const { rows, prompt, ...variants } = readJson(`${folder}/expected.json`) as never as {
    rows: { ids: number[]; supervised: number[] }[];
    prompt: number[];
  } & Record<string, Variant>;
  const samples = rows.map(({ ids, supervised }, index) => ({
    index,
    ids: Int32Array.from(ids),
    supervised: Uint8Array.from(supervised),
  }));
  const expected = readTensors(`${folder}/expected.safetensors`);
  const path = `${folder}/${variant}`;
  const adapter = await readAdapter(nodeFiles, path, base.config);
  const model = { device, config: base.config, weights: uploaded.get(name)! };
  const trainer = (optimizer = settings as ConstructorParameters<typeof BlockTrainer>[1]["optimizer"], more = {}) =>
    new BlockTrainer(model, {
      trainables: { kind: "lora", lora: adapter.config },
      initial: adapter.tensors,
      optimizer,
      seed: 1,
      ...more,
    });
  return {
    base,
    model,
    samples,
    prompt,
    expected: { ...base, expected },
    path,
    adapter,
    trainer,
    ...variants[variant]!,
  };
}

describe.each(VARIANTS)("%s, %s", (name, variant) => {
  const opened = open(name, variant);

  it.each([{}, { checkpointing: true }, { save: "none" }])("has PEFT's loss and every gradient: %j", async (more) => {
    const { trainer: make, samples, loss_sum, expected } = await opened;
    const trainer = make(settings, more);
    const { lossSum } = await trainer.evaluate(samples);
    expect(Math.abs(lossSum / loss_sum - 1)).toBeLessThan(TOLERANCE);
    const wanted = expectedUnder(expected, `${variant}.grad.`);
    for (const batches of [[samples], [samples.slice(0, 2), samples.slice(2)]]) {
      const { gradients } = await trainer.gradientsOf(batches);
      const worst = worstError(values(gradients), wanted);
      expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
    }
    await trainer.dispose();
  });

  it("takes PEFT's ten AdamW steps, clipped over all that is trained, and goes on from a state bit for bit", async () => {
    const { trainer: make, samples, training, expected } = await opened;
    const { betas, eps, weight_decay: weightDecay, max_grad_norm: maxGradNorm } = training;
    const [trainer, other] = [make({ betas, eps, weightDecay }), make({ betas, eps, weightDecay })];
    const step = (which: BlockTrainer, i: number) =>
      which.step(
        training.micro_batches[i]!.map((micro) => micro.map((row) => samples[row]!)),
        { lr: training.lr[i]!, maxGradNorm },
      );
    for (let i = 0; i < 10; i++) {
      const { loss, gradNorm } = await step(trainer, i);
      expect(Math.abs(loss / training.losses[i]! - 1), `step ${i}`).toBeLessThan(1e-4);
      expect(Math.abs(gradNorm / training.grad_norms[i]! - 1), `norm of step ${i}`).toBeLessThan(1e-4);
      if (i === 4) await other.restore(await trainer.state());
    }
    const { parameters } = await trainer.state();
    const worst = worstError(values(parameters), expectedUnder(expected, `${variant}.trained.`));
    expect(worst.error, worst.name).toBeLessThan(2e-4);
    for (let i = 5; i < 10; i++) await step(other, i);
    expect((await other.state()).parameters).toEqual(parameters);
    await trainer.dispose();
    await other.dispose();
  });

  it("generates PEFT's logits and greedy tokens, alone and in a step with the base's and a plain adapter's", async () => {
    const { model, samples, prompt, greedy, expected, adapter } = await opened;
    const decoder = new Decoder(model);
    decoder.leastRows = 2; // a text's numbers are the same whoever is beside it
    const resident: ResidentAdapter = {
      config: adapter.config,
      tensors: uploadTensors(device, adapter.tensors),
    };
    const { modulesToSave: _, trainableTokenIndices: __, kind: ___, ...plain } = adapter.config;
    const lora: ResidentAdapter = { config: plain as LoraConfig, tensors: uploadTensors(device, adapter.tensors) };
    const text = samples[1]!.ids;
    const run = async (one: ResidentAdapter | undefined) => {
      const sequence = new Sequence(decoder, 40, one);
      let last = await sequence.feed([...text.slice(0, 4)]);
      for (const id of text.slice(4)) last = await sequence.feed([id]);
      sequence.dispose();
      return last.slice();
    };
    const alone = [await run(undefined), await run(resident), await run(lora)];
    const whole = expected.expected.get(`${variant}.logits.1`)!.data as Float32Array;
    expect(relativeError(alone[1]!, whole.subarray((text.length - 1) * model.config.vocabSize))).toBeLessThan(
      TOLERANCE,
    );
    expect(await Promise.all([undefined, resident, lora].map(run))).toEqual(alone);
    for (const other of [alone[0]!, alone[2]!]) expect(relativeError(alone[1]!, other)).toBeGreaterThan(0.01);
    const tokens: number[] = [];
    const options = { temperature: 0, maxNewTokens: greedy.length, stopIds: new Set<number>() };
    for await (const id of decodeTokens(decoder, prompt, options, resident)) tokens.push(id);
    expect(tokens).toEqual(greedy);
    decoder.dispose();
  });

  it("merges as merge_and_unload does: a head that was told from a tied embedding is one of its own", async () => {
    const { base, adapter, sums, tied } = await opened;
    const config = asAdapted(base.config, adapter.config);
    expect(config.tieWordEmbeddings).toBe(tied);
    for (const [key, sum] of Object.entries(sums)) {
      const name = key === HEAD && tied ? EMBEDDING : key;
      if (!weightShapes(config).has(name)) continue;
      const weight = ((base.weights.get(name) ?? base.weights.get(EMBEDDING)!).data as Float32Array).slice();
      await mergeWeight(name, weight, adapter);
      expect(Math.abs(weight.reduce((a, b) => a + b, 0) - sum), key).toBeLessThan(1e-3);
    }
  });

  it("is read and written as PEFT has it", async () => {
    const { base, path, adapter } = await opened;
    const stored = readTensors(`${path}/adapter_model.safetensors`);
    expect([...stored.keys()].sort()).toEqual(
      [...adapter.tensors.keys()].map((key) => `base_model.model.${key}`).sort(),
    );
    const folder = await mkdtemp(join(tmpdir(), "saved-"));
    await writeAdapter(nodeFiles, join(folder, "again"), adapter);
    expect(await readAdapter(nodeFiles, join(folder, "again"), base.config)).toEqual({
      ...adapter,
      base: { name: adapter.base.name },
    });
    const json = (at: string) => readJson(join(at, "adapter_config.json")) as Record<string, unknown>;
    const [theirs, ours] = [json(path), json(join(folder, "again"))];
    expect(ours.modules_to_save).toEqual(theirs.modules_to_save);
    expect(ours.lora_bias ?? false).toBe(theirs.lora_bias);
    const tokens = theirs.trainable_token_indices as { embed_tokens?: number[] } | null;
    expect(ours.trainable_token_indices ?? null).toEqual(tokens?.embed_tokens ?? tokens);
    await rm(folder, { recursive: true });
  });
});

describe.each(CASES)("every family: %s", (name) => {
  const base = readCase(name);
  const lora: LoraConfig = {
    ...{ r: 2, alpha: 4, dropout: 0, useRslora: false, init: "kaiming" },
    targetModules: [base.config.fused ? "qkv_proj" : "q_proj"],
  };
  const full = expectedUnder(base, "full.grad.");
  const gradients = async (whole: Partial<LoraConfig>) => {
    if (!uploaded.has(name)) uploaded.set(name, uploadTensors(device, base.weights));
    const asked = { ...lora, ...whole };
    const read = async (weight: string) => base.weights.get(weight)!.data as Float32Array;
    const factors = (await initialAdapter(base.config, asked, 1)).initial;
    const initial = new Map([...factors, ...(await wholeStart(base.config, asked, read))]);
    const model = { device, config: base.config, weights: uploaded.get(name)! };
    const trainables = { kind: "lora", lora: asked } as const;
    const trainer = new BlockTrainer(model, { trainables, initial, optimizer: settings, seed: 1 });
    const found = (await trainer.gradientsOf([base.rows.slice(0, 2), base.rows.slice(2)])).gradients;
    await trainer.dispose();
    return values(found);
  };

  it("its norms, embedding and head have the gradients that they have where every weight is trained", async () => {
    const found = await gradients({ modulesToSave: ["norm", "embed_tokens", "lm_head"] });
    const { tieWordEmbeddings: tied } = base.config;
    const head = found.get(HEAD)!;
    const own = found.get(EMBEDDING)!;
    const norms = [...full.keys()].filter((key) => /norm\.weight$/.test(key));
    expect(norms.length).toBeGreaterThan(2 * base.config.numHiddenLayers - 1);
    for (const key of norms) expect(relativeError(found.get(key)!, full.get(key)!), key).toBeLessThan(TOLERANCE);
    const embedding = tied ? own.map((value, i) => value + head[i]!) : own;
    expect(relativeError(embedding, full.get(EMBEDDING)!)).toBeLessThan(TOLERANCE);
    if (!tied) expect(relativeError(head, full.get(HEAD)!)).toBeLessThan(TOLERANCE);
  });

  it("so have single rows of its embedding, and its tied head with them", async () => {
    const tokens = [...new Set(base.rows.flatMap(({ ids }) => [...ids]))].slice(1, 6).reverse();
    const rows = (await gradients({ trainableTokenIndices: tokens })).get(TOKEN_ROWS)!;
    const { hiddenSize: d } = base.config;
    const whole = full.get(EMBEDDING)! as Float32Array;
    const wanted = tokens.flatMap((id) => [...whole.subarray(id * d, (id + 1) * d)]);
    expect(relativeError(rows, wanted)).toBeLessThan(TOLERANCE);
  });
});

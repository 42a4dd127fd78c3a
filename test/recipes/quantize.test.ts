import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Sequence } from "../../src/generation/decoder.js";
import {
  generate,
  type LoadedAdapter,
  type LoadedModel,
  loadModel,
  loraFinetune,
  mergeAdapter,
} from "../../src/node/index.js";
import { relativeError } from "../numerics/vectors.js";
import { BASE } from "../serve/tiny.js";

// The bundled model multiplied in 8 and 4 bits; its MLP is 11 blocks wide, so 4-bit rows end in half a byte of zero points.
const messages = [{ role: "user", content: "Where does Ada live?" }];
const IDS = [5, 17, 42, 8, 99, 3, 250, 12, 77];
let plain: LoadedModel;
beforeAll(async () => {
  plain = await loadModel(BASE, { threads: 1 });
});
afterAll(() => plain.dispose());

async function logitsOf(model: LoadedModel, beside: readonly (readonly number[])[] = []): Promise<Float32Array[]> {
  const sequence = new Sequence(model.decoder, 64);
  const others = beside.map((ids) => ({ ids, sequence: new Sequence(model.decoder, 64) }));
  const rows: Float32Array[] = [];
  for (const [i, id] of IDS.entries()) {
    const step = [sequence.feed([id]), ...others.map((other) => other.sequence.feed([other.ids[i]!]))];
    rows.push((await Promise.all(step))[0]!.slice());
  }
  for (const each of [sequence, ...others.map((other) => other.sequence)]) each.dispose();
  return rows;
}

describe.each([
  ["int8", 0.03],
  ["int4", 0.25],
] as const)("quantize: %s", (quantize, tolerance) => {
  let model: LoadedModel;
  beforeAll(async () => {
    model = await loadModel(BASE, { threads: 1, quantize });
  });
  afterAll(() => model.dispose());

  it("computes nearly what fp32 does, out of less memory", async () => {
    const [exact, rounded] = [await logitsOf(plain), await logitsOf(model)];
    for (const [i, row] of rounded.entries()) {
      const error = relativeError(row, exact[i]!);
      expect(error, `token ${i}`).toBeLessThan(tolerance);
      expect(error).toBeGreaterThan(1e-5);
    }
    const bytes = async (m: LoadedModel) => (await m.resident.device.memory()).buffers;
    expect(await bytes(model)).toBeLessThan((await bytes(plain)) * 0.7);
  });

  it("answers, and beside others as alone", async () => {
    const { text } = await generate(model, { messages }, { maxNewTokens: 12 }).result();
    expect(text.length).toBeGreaterThan(0);
    model.decoder.leastRows = 2;
    const alone = await logitsOf(model);
    expect(await logitsOf(model, [[...IDS].reverse(), IDS.map((id) => id + 1)])).toEqual(alone);
  });

  it("is not merged into", async () => {
    const adapter = { path: "a", resident: { config: {}, tensors: new Map() } } as unknown as LoadedAdapter;
    await expect(mergeAdapter(model, adapter)).rejects.toThrow("cannot hold an adapter's small changes");
  });

  it("is not trained on", async () => {
    const config = { base: model.name, data: { train: "rows.jsonl" } };
    await expect(loraFinetune(config, { model }).result()).rejects.toThrow("only generates");
  });
});

it("is one of two ways to hold a base", async () => {
  const both = loadModel(BASE, { quantize: "int4", basePrecision: "nf4" });
  await expect(both).rejects.toThrow("give one of the two");
});

import { afterAll, beforeEach, expect, it } from "vitest";
import { Decoder, type ResidentAdapter, Sequence } from "../../src/generation/decoder.js";
import { decodeTokens } from "../../src/generation/generate.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { deviceHere } from "../conformance/run.js";

import { readAdapterOf, readCase } from "./vectors.js";

// A text that begins as an earlier one did takes over its keys and values, if both have the same adapter at the same strength.
const device = await deviceHere("native", 1);
afterAll(() => device.dispose());
const reference = readCase("llama3");
const { config, rows } = reference;
const resident = { device, config, weights: uploadTensors(device, reference.weights) };
const ids = [...rows[3]!.ids];
const PREFIX = 20;

function adapterOf(variant: "qv" | "all"): ResidentAdapter {
  const { lora, tensors } = readAdapterOf(reference, variant);
  return { config: lora, tensors: uploadTensors(device, tensors) };
}
const [qv, all] = [adapterOf("qv"), adapterOf("all")];

let decoder: Decoder;
beforeEach(() => {
  decoder = new Decoder(resident);
  decoder.prefixes.most = 2 ** 20;
  return () => decoder.dispose();
});

async function decoded(prompt: readonly number[], adapter?: ResidentAdapter): Promise<number[]> {
  const options = { temperature: 0, maxNewTokens: 6, stopIds: new Set<number>() };
  const tokens: number[] = [];
  for await (const id of decodeTokens(decoder, prompt, options, adapter)) tokens.push(id);
  return tokens;
}

/** How many tokens of a text would be taken over. */
function recalled(prompt: readonly number[], adapter?: ResidentAdapter): number {
  const sequence = new Sequence(decoder, prompt.length + 6, adapter);
  const count = sequence.recall(prompt);
  sequence.rewind(0); // and leaves nothing new
  sequence.dispose();
  return count;
}

it("a second text feeds only what the first did not begin with, and goes on the same", async () => {
  const other = [...ids.slice(0, PREFIX), 3, 1, 4];
  decoder.prefixes.most = 0;
  const alone = [await decoded(ids, qv), await decoded(other, qv)];
  expect(decoder.prefixes.bytes).toBe(0);
  decoder.prefixes.most = 2 ** 20;
  const first = await decoded(ids, qv);
  expect(recalled([...ids, ...first], qv)).toBe(ids.length + first.length - 1);
  expect(recalled(other, qv)).toBe(PREFIX);
  expect([first, await decoded(other, qv), await decoded(ids, qv)]).toEqual([alone[0], alone[1], alone[0]]);
  expect(recalled(ids, qv)).toBe(ids.length - 1);
});

it("never across adapters, strengths, or a folder that was loaded again", async () => {
  const texts = [undefined, qv, all, { ...qv, factor: 0.5 }];
  for (const [i, adapter] of texts.entries()) {
    expect(recalled(ids, adapter)).toBe(0);
    await decoded(ids, adapter);
    for (const [j, other] of texts.entries()) expect(recalled(ids, other) > 0, `${i} and ${j}`).toBe(j <= i);
  }
  expect(recalled(ids, adapterOf("qv"))).toBe(0);
  expect(recalled(ids, { ...qv, factor: 1 })).toBe(ids.length - 1);
  decoder.forget(qv.tensors);
  expect([undefined, qv, all].map((adapter) => recalled(ids, adapter) > 0)).toEqual([true, false, true]);
});

it("memory is bounded: what was not used for longest goes first, and what grew is kept once", async () => {
  await decoded(ids.slice(0, 10));
  const one = decoder.prefixes.bytes;
  await decoded(ids.slice(0, 10));
  await decoded([...ids.slice(0, 10), ...(await decoded(ids.slice(0, 10)))]);
  expect(decoder.prefixes.bytes).toBeLessThan(2.5 * one);
  decoder.prefixes.clear();
  decoder.prefixes.most = 2.5 * one;
  const starts = [0, 1, 2].map((start) => ids.slice(start, start + 10));
  await decoded(starts[0]!);
  await decoded(starts[1]!);
  expect(recalled(starts[0]!)).toBeGreaterThan(0);
  await decoded(starts[2]!);
  expect(decoder.prefixes.bytes).toBeLessThanOrEqual(decoder.prefixes.most);
  expect(starts.map((start) => recalled(start) > 0)).toEqual([true, false, true]);
});

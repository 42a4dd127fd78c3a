import { describe, expect, it } from "vitest";
import { CONFIGS, LORA, valuesFor } from "../../test/conformance/models.js";
import { causalMask, type Fn, interpret, MASKED, type Reference } from "../graph/index.js";
import { f32, type HostTensor } from "../tensor/index.js";
import {
  attentionInput,
  attentionOutput,
  blockLora,
  decode,
  embed,
  logitsHead,
  ropeTables,
  selfAttention,
} from "./index.js";

type Values = Record<string, HostTensor | Reference>;
const IDS = [3, 1, 4, 1, 5, 9];
const ids = (from: readonly number[]): HostTensor => ({
  dtype: "i64",
  shape: [from.length],
  data: BigInt64Array.from(from, BigInt),
});

describe.each(Object.entries(CONFIGS))("a model with %s", (_, config) => {
  const shape = { tokens: 2, capacity: 8 };
  const weights = valuesFor(decode(config, shape, LORA), config);

  /** The training step's functions on the whole text, for the logits of its last token. */
  function whole(): Float64Array {
    const n = IDS.length;
    const tables = { ...ropeTables(config, n), mask: f32([n, n], causalMask(n)) };
    const run = (f: Fn, inputs: Values) => interpret(f, inputs);
    let x = run(embed(config, n), { ...weights, ids: ids(IDS) }).x!;
    for (let i = 0; i < config.numHiddenLayers; i++) {
      const prefix = `layers.${i}.`;
      const own = Object.entries(weights).filter(([name]) => name.startsWith(prefix));
      const layer = Object.fromEntries(own.map(([name, t]) => [name.slice(prefix.length), t]));
      const lora = { lora: blockLora(LORA, i) };
      const qkv = run(attentionInput(config, n, lora), { ...layer, x });
      const { o } = run(selfAttention(config, n), { ...tables, ...qkv });
      x = run(attentionOutput(config, n, lora), { ...layer, x, o: o! }).y!;
    }
    return run(logitsHead(config, n, 1), { ...weights, x, rows: ids([n - 1]) }).logits!.data;
  }

  /** The same text through the cache, in pieces of the given lengths. */
  function cached(pieces: readonly number[]): Float64Array {
    const { capacity } = shape;
    const cache: Record<string, Reference> = {};
    let start = 0;
    let logits: Float64Array = new Float64Array();
    for (const t of pieces) {
      const f = decode(config, { tokens: t, capacity }, LORA);
      const past = new Float32Array(t * capacity).map((_, i) => (i % capacity < start ? 0 : MASKED));
      const state = Object.fromEntries(
        Object.entries(f.inputs)
          .filter(([name]) => name.endsWith("_cache"))
          .map(([name, v]) => [
            name,
            (cache[name] ??= { shape: v.shape, data: new Float64Array(v.shape.reduce((n, d) => n * d, 1)) }),
          ]),
      );
      const results = interpret(f, {
        ...weights,
        ...state,
        ...ropeTables(config, t, start),
        ids: ids(IDS.slice(start, start + t)),
        row: ids([t - 1]),
        mask: f32([t, t], causalMask(t)),
        past_mask: f32([t, capacity], past),
      });
      for (const [name, into] of Object.entries(state)) {
        const made = results[name.replace("_cache", "")]!;
        const [groups, , width] = made.shape as [number, number, number];
        for (let g = 0; g < groups; g++)
          into.data.set(made.data.subarray(g * t * width, (g + 1) * t * width), (g * capacity + start) * width);
      }
      logits = results.logits!.data;
      start += t;
    }
    return logits;
  }

  it("decoding through the cache, in whatever pieces, gives the logits of the whole text", () => {
    const expected = whole();
    expect(Math.max(...expected) - Math.min(...expected)).toBeGreaterThan(0.1);
    for (const pieces of [[6], [4, 1, 1], [1, 1, 1, 1, 1, 1], [2, 3, 1]]) {
      cached(pieces).forEach((logit, i) => {
        expect(logit, `pieces ${pieces}`).toBeCloseTo(expected[i]!, 10);
      });
    }
  });
});

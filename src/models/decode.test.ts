import { describe, expect, it } from "vitest";
import { CONFIGS, valuesFor } from "../../test/conformance/models.js";
import { causalMask, type Fn, interpret, type Reference } from "../graph/index.js";
import { f32, type HostTensor } from "../tensor/index.js";
import {
  attentionInput,
  attentionOutput,
  blockLora,
  cacheGroups,
  decode,
  embed,
  LINEARS,
  type LinearName,
  type LoraConfig,
  layerKind,
  linearLora,
  linearNames,
  linearShape,
  logitsHead,
  ropeNames,
  ropeTables,
  rotaryPairs,
  rotationNames,
  selfAttention,
} from "./index.js";

type Values = Record<string, HostTensor | Reference>;
const ids = (from: readonly number[]): HostTensor => ({
  dtype: "i64",
  shape: [from.length],
  data: BigInt64Array.from(from, BigInt),
});
/** Adapts every linear layer of a block, whatever they are. */
const EVERY = Object.keys(LINEARS) as LinearName[];
const adapter = (r: number, alpha: number, targetModules: readonly LinearName[]): LoraConfig => ({
  r,
  alpha,
  dropout: 0,
  useRslora: false,
  init: "gaussian",
  targetModules,
});
/** Three texts, each with an adapter of its own rank and layers or none; where its factors lie in the stack. */
const TEXTS = [
  { ids: [3, 1, 4, 1, 5, 9], lora: adapter(3, 5, EVERY), start: 0 },
  { ids: [2, 7, 1], lora: undefined, start: 0 },
  { ids: [8, 2, 8, 1], lora: adapter(2, 2, ["v_proj", "qkv_proj", "down_proj"]), start: 4 },
];
const RANK = 6;

describe.each(Object.entries(CONFIGS))("a model with %s", (_, config) => {
  const TARGETS = linearNames(config);
  const shape = { rows: TEXTS.length, tokens: 2, capacity: 8, rank: RANK, targets: TARGETS };
  const weights = valuesFor(decode(config, shape), config);
  // the stack holds zeros where an adapter changes nothing
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    for (const { lora, start } of TEXTS) {
      for (const name of TARGETS.filter((target) => lora && !lora.targetModules.includes(target))) {
        const { data, shape: dims } = weights[`layers.${layer}.${name}.stacked_A`] as HostTensor;
        (data as Float32Array).fill(0, start * dims[1]!, (start + lora!.r) * dims[1]!);
      }
    }
  }

  /** The part of a stacked factor that is an adapter's own, as a checkpoint has it. */
  function own(text: (typeof TEXTS)[number], layer: number, name: LinearName): Values {
    const lora = text.lora && linearLora(text.lora, layer, name);
    if (!lora) return {};
    const [out, input] = linearShape(config, name);
    const stacked = (kind: "A" | "B") =>
      (weights[`layers.${layer}.${name}.stacked_${kind}`] as HostTensor).data as Float32Array;
    const rows = (kind: "A" | "B", width: number) =>
      stacked(kind).subarray(text.start * width, (text.start + lora.r) * width);
    const b = rows("B", out);
    const lora_B = Float32Array.from(
      { length: out * lora.r },
      (_, i) => b[(i % lora.r) * out + Math.floor(i / lora.r)]! / lora.scale,
    );
    return {
      [`${name}.lora_A.weight`]: f32([lora.r, input], rows("A", input).slice()),
      [`${name}.lora_B.weight`]: f32([out, lora.r], lora_B),
    };
  }

  /** The training step's functions on a whole text, for the logits of its last token. */
  function whole(text: (typeof TEXTS)[number]): Float64Array {
    const n = text.ids.length;
    const run = (f: Fn, inputs: Values) => interpret(f, inputs);
    let x = run(embed(config, n), { ...weights, ids: ids(text.ids) }).x!;
    for (let i = 0; i < config.numHiddenLayers; i++) {
      const prefix = `layers.${i}.`;
      const named = Object.entries(weights).filter(([name]) => name.startsWith(prefix));
      const layer: Values = Object.fromEntries(named.map(([name, t]) => [name.slice(prefix.length), t]));
      for (const name of TARGETS) Object.assign(layer, own(text, i, name));
      const lora = { lora: text.lora && blockLora(text.lora, i) };
      const kind = layerKind(config, i);
      const tables = kind.rope === "none" ? {} : ropeTables(config, n, { rope: kind.rope });
      const qkv = run(attentionInput(config, n, lora, kind), { ...tables, ...layer, x });
      const mask = f32([n, n], causalMask(n, kind.window));
      const { o } = run(selfAttention(config, n, kind), { mask, ...qkv });
      x = run(attentionOutput(config, n, lora), { ...layer, x, o: o! }).y!;
    }
    return run(logitsHead(config, n, 1), { ...weights, x, rows: ids([n - 1]) }).logits!.data;
  }

  const cache: Record<string, Reference> = {};

  /** Feeds `tokens` to each of some texts in one run, and writes their caches. Texts that are not named have no turn. */
  function feed(
    starts: readonly number[],
    turns: ReadonlyMap<number, readonly number[]>,
    tokens: number,
  ): Float64Array {
    const f = decode(config, { ...shape, tokens });
    const n = shape.rows * tokens;
    const half = rotaryPairs(config);
    const picked = new Float32Array(n * RANK);
    const rotations = Object.fromEntries(
      ropeNames(config).flatMap((name) => rotationNames(name).map((table) => [table, new Float32Array(n * half)])),
    );
    const fed: number[] = new Array(n).fill(0);
    const wanted: number[] = new Array(shape.rows).fill(0);
    for (const [row, mine] of turns) {
      for (const name of ropeNames(config)) {
        const tables = ropeTables(config, tokens, { start: starts[row]!, rope: name });
        const [cos, sin] = rotationNames(name);
        rotations[cos]!.set(tables.cos.data as Float32Array, row * tokens * half);
        rotations[sin]!.set(tables.sin.data as Float32Array, row * tokens * half);
      }
      mine.forEach((id, i) => {
        fed[row * tokens + i] = id;
      });
      wanted[row] = row * tokens + mine.length - 1;
      const { lora, start } = TEXTS[row]!;
      for (let i = row * tokens; lora && i < (row + 1) * tokens; i++)
        picked.fill(1, i * RANK + start, i * RANK + start + lora.r);
    }
    const caches = Object.fromEntries(
      Object.entries(f.inputs)
        .filter(([name]) => name.endsWith("_cache"))
        .map(([name, v]) => [
          name,
          (cache[name] ??= { shape: v.shape, data: new Float64Array(v.shape.reduce((p, d) => p * d, 1)) }),
        ]),
    );
    const { logits, ...made } = interpret(f, {
      ...weights,
      ...caches,
      ids: ids(fed),
      wanted: ids(wanted),
      ...Object.fromEntries(Object.entries(rotations).map(([name, data]) => [name, f32([n, half], data)])),
      ...Object.fromEntries(
        cacheGroups(config).map(({ suffix }) => [
          `last${suffix}`,
          f32(
            [shape.rows, 1],
            Float32Array.from(starts, (start) => start - 1),
          ),
        ]),
      ),
      picked: f32([n, RANK], picked),
      factor: f32([n, 1], new Float32Array(n).fill(1)),
    });
    for (const { suffix, layers } of cacheGroups(config)) {
      const kv = made[`kv${suffix}`]!;
      const [, rows, groups, , width] = kv.shape as [number, number, number, number, number];
      const names = layers.flatMap((layer) => [`layers.${layer}.k_cache`, `layers.${layer}.v_cache`]);
      for (const [row, mine] of turns) {
        for (const [i, name] of names.entries()) {
          for (let g = 0; g < groups; g++) {
            const at = ((i * rows + row) * groups + g) * tokens * width;
            const to = ((row * groups + g) * shape.capacity + starts[row]!) * width;
            caches[name]!.data.set(kv.data.subarray(at, at + mine.length * width), to);
          }
        }
      }
    }
    return logits!.data;
  }

  it("texts of uneven lengths with adapters of their own, fed in one run in whatever pieces: the logits of each alone", () => {
    const expected = TEXTS.map(whole);
    expect(Math.max(...expected[0]!) - Math.min(...expected[0]!)).toBeGreaterThan(0.1);
    for (const tokens of [1, 2, 3]) {
      const starts = TEXTS.map(() => 0);
      const done = new Map<number, Float64Array>();
      while (done.size < TEXTS.length) {
        const turns = new Map(
          TEXTS.map((text, row) => [row, text.ids.slice(starts[row], starts[row]! + tokens)] as const).filter(
            ([, mine]) => mine.length > 0,
          ),
        );
        const logits = feed(starts, turns, tokens);
        for (const [row, mine] of turns) {
          starts[row]! += mine.length;
          const { vocabSize } = config;
          if (starts[row] === TEXTS[row]!.ids.length)
            done.set(row, logits.subarray(row * vocabSize, (row + 1) * vocabSize));
        }
      }
      for (const [row, logits] of done) {
        logits.forEach((logit, i) => {
          expect(logit, `text ${row}, ${tokens} tokens a run`).toBeCloseTo(expected[row]![i]!, 5);
        });
      }
    }
  });
});

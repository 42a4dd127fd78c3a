import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { blockLora, type LoraConfig, linearLora, patternsOf, SEPARATE } from "./index.js";
import { modulePattern } from "./module-pattern.js";

const PATH = "model.layers.11.self_attn.q_proj";

describe("a key of rank_pattern or alpha_pattern", () => {
  it.each([
    ["q_proj", true],
    ["self_attn.q_proj", true],
    ["proj", false],
    ["attn.q_proj", false],
    ["layers.1.self_attn.q_proj", false],
    ["layers.1..self_attn.q_proj", true],
    ["^model.layers.11.self_attn.q_proj", true],
    ["^layers.11.self_attn.q_proj", false],
    [".*\\.1[01]\\..*", true],
    ["layers\\.(?:0|1{2})\\.self_attn\\.[qk]_proj$", true],
    ["q_proj|v_proj", true],
    ["v_proj|k_proj", false],
    ["\\w+_proj", true],
    ["[^q]_proj", false],
    ["layers\\.\\d{1}\\..*", false],
    ["(?P<name>q)_proj", true],
    ["(?!v)\\w_proj", true],
    ["(?!q)\\w_proj", false],
    ["(?<=self_attn\\.)q_proj", true],
    ["\\bq_proj\\b", true],
    ["", false],
  ])("%s: %s", (key, expected) => {
    expect(modulePattern(key, "here")(PATH)).toBe(expected);
  });

  it("means what the host's own engine makes of Python's wrapping", () => {
    const leaf = fc.constantFrom("a", "b", ".", "\\.", "[ab]", "[^a]", "\\w", "^", "$", "a.b", "");
    const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
      pattern: fc.oneof(
        { depthSize: "small" },
        leaf,
        fc.tuple(tie("pattern"), tie("pattern")).map(([a, b]) => a + b),
        fc.tuple(tie("pattern"), tie("pattern")).map(([a, b]) => `${a}|${b}`),
        fc
          .tuple(tie("pattern"), fc.constantFrom("*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"))
          .map(([a, q]) => `(${a})${q}`),
      ),
    }));
    const text = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 7 });
    fc.assert(
      fc.property(pattern, text, (key, path) => {
        expect(modulePattern(key, "here")(path)).toBe(new RegExp(`^(?:.*\\.)?(?:${key})$`).test(path));
      }),
      { numRuns: 2000, seed: 1 },
    );
  });

  it("is refused when it is none, or not regular", () => {
    for (const [key, what] of [
      ["(q_proj", "missing )"],
      ["q_proj)", "unbalanced )"],
      ["*q", "nothing to repeat"],
      ["q**", "multiple repeat"],
      ["q{3,2}", "above the most"],
      ["[z-a]", "goes backwards"],
      ["[a", "missing ]"],
      ["q\\", "ends it"],
      ["(q)\\1", "not supported"],
      ["(?x)q", "not supported"],
      ["((.{1000}){1000}){1000}", "too long"],
      [`${"(".repeat(60)}q${")".repeat(60)}`, "50 deep"],
      ["q".repeat(10_001), "at most"],
    ] as const) {
      expect(() => modulePattern(key, "rank_pattern"), key.slice(0, 20)).toThrow(what);
    }
  });

  it("takes no time whatever it nests: a template of another's cannot stall", () => {
    const start = performance.now();
    for (const key of [
      "((((.*)*)*)*)*!",
      "(.+)+(.+)+(.+)+!",
      `(${".?".repeat(30)}){30}!`,
      "(?=(.*)*!)q_proj",
      "(a|a)*(a|a)*(a|a)*!",
    ]) {
      expect(modulePattern(key, "here")(PATH)).toBe(false);
    }
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

const LORA: LoraConfig = {
  r: 8,
  alpha: 16,
  dropout: 0,
  useRslora: false,
  init: "gaussian",
  targetModules: ["q_proj", "v_proj"],
};

describe("patterns", () => {
  it("say rank and alpha of single modules; the first key that matches counts; the scale follows", () => {
    const lora = {
      ...LORA,
      layersToTransform: [0, 1],
      rankPattern: { "layers.1.self_attn.q_proj": 2, q_proj: 4 },
      alphaPattern: { v_proj: 32 },
    };
    expect(blockLora(lora, 0)).toEqual({
      q_proj: { r: 4, alpha: 16, scale: 4 },
      v_proj: { r: 8, alpha: 32, scale: 4 },
    });
    expect(linearLora(lora, 1, "q_proj")).toEqual({ r: 2, alpha: 16, scale: 8 });
    expect(linearLora({ ...lora, useRslora: true }, 0, "q_proj")?.scale).toBe(8);
    expect(linearLora(lora, 0, "k_proj")).toBeUndefined();
    expect(blockLora(lora, 2)).toBeUndefined();
  });

  it("say any ranks and alphas: the commonest beside them, then linear layers, then single modules", () => {
    const names = SEPARATE;
    const modules = fc.array(fc.record({ r: fc.integer({ min: 1, max: 3 }), alpha: fc.integer({ min: 1, max: 3 }) }), {
      minLength: 14,
      maxLength: 14,
    });
    fc.assert(
      fc.property(modules, (values) => {
        const all = values.map((value, i) => ({ ...value, layer: i < 7 ? 1 : 11, name: names[i % 7]! }));
        const lora = { ...LORA, targetModules: names, ...patternsOf(all) };
        for (const { layer, name, r, alpha } of all) expect(linearLora(lora, layer, name)).toMatchObject({ r, alpha });
      }),
      { numRuns: 50, seed: 1 },
    );
    expect(patternsOf([0, 1].map((layer) => ({ layer, name: "q_proj" as const, r: 4, alpha: 8 })))).toEqual({
      r: 4,
      alpha: 8,
    });
  });
});

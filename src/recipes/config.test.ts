import { describe, expect, expectTypeOf, it } from "vitest";
import { UserError } from "../tensor/index.js";
import { formatProblem, readConfig, resolveConfig, writeConfig } from "./config.js";
import type { TrainConfig } from "./config-schema.js";
import { refuseIdlePatterns, resolveTargets } from "./targets.js";

const minimal = "base: models/x\ndata:\n  train: rows.jsonl\n";
const say = (text: string, overrides: string[] = []) =>
  readConfig(text, overrides).problems.map((p) => formatProblem(p));

describe("readConfig", () => {
  it("fills in defaults and translates keys to camelCase", () => {
    const { config } = readConfig(minimal);
    expect(config).toMatchObject({ base: "models/x", maxSteps: null, lora: { r: 8, useRslora: false } });
    expect(config?.data).toMatchObject({ train: "rows.jsonl", maxSeqLen: 1024, onOverflow: "truncate" });
    expect(config?.lora.targetModules).toEqual(["q_proj", "v_proj"]);
  });

  it("reports every problem at once with line, key and the nearest known key", () => {
    const text = [
      "base: models/x",
      "sede: 1",
      "lora:",
      "  rank: 8",
      "  r: eight",
      "  alpha: -1",
      "data:",
      "  trian: rows.jsonl",
      "optimizer: {name: adam, betas: [0.9, 2]}",
      "lr: 1",
    ].join("\n");
    expect(say(text)).toMatchInlineSnapshot(`
      [
        "  2:1: sede: unknown key; did you mean seed?",
        "  4:3: lora.rank: unknown key; did you mean lora.r?",
        "  5:3: lora.r: expected whole number, got "eight"",
        "  6:3: lora.alpha: expected number (more than 0), got -1",
        "  7:1: data.train: is required: Training rows: a file (JSONL, JSON, CSV, TSV, Parquet, also packed as .gz), a list of files, or a list of {path, weight, format, columns}, mixed by weight (docs/data.md).",
        "  8:3: data.trian: unknown key; did you mean data.train?",
        "  9:13: optimizer.name: expected \`adamw\`, \`adafactor\`, got "adam"",
        "  9:25: optimizer.betas: expected list of 2 numbers (less than 1), got 2",
        "  10:1: lr: unknown key; did you mean optimizer.lr?",
      ]
    `);
  });

  it("refuses a duplicate key, and still checks the rest", () => {
    expect(say(`${minimal}seed: 1\nseed: x\n`)).toMatchInlineSnapshot(`
      [
        "  5:1: seed: this key is written twice; keep one",
        "  5:1: seed: expected whole number, got "x"",
      ]
    `);
  });

  it("stops an alias bomb", () => {
    let text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
    for (let i = 1; i < 12; i++)
      text += `a${i}: &a${i} [${Array(9)
        .fill(`*a${i - 1}`)
        .join(", ")}]\n`;
    const start = performance.now();
    expect(say(text).join()).toContain("alias bomb");
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it("reads lr: 3e-4 as a number (a string in YAML 1.1)", () => {
    expect(readConfig(`${minimal}optimizer:\n  lr: 3e-4\n`).config?.optimizer.lr).toBe(3e-4);
  });

  it("keeps no, on and yes as text (booleans in YAML 1.1)", () => {
    expect(readConfig(`${minimal}output_dir: no\n`).config?.outputDir).toBe("no");
    expect(say(`${minimal}checkpointing: yes\n`)[0]).toContain('expected true or false, got "yes"');
  });

  it("refuses keys that reach for the prototype and tags it does not know", () => {
    expect(say(`${minimal}__proto__: {x: 1}\n`)[0]).toContain("__proto__: unknown key");
    expect(say(`${minimal}output_dir: !!js/function 'x'\n`).length).toBeGreaterThan(0);
  });

  it("refuses text that is not a mapping, or not YAML", () => {
    expect(say("- a\n")[0]).toContain("key: value");
    expect(say("a: [1\n").length).toBeGreaterThan(0);
    expect(say("")).toHaveLength(2);
  });

  it("lays overrides over the file, typed by the schema", () => {
    const { config } = readConfig(minimal, [
      "lora.r=16",
      "output_dir=123",
      "data.validation=0.1",
      "lora.target_modules=q_proj,k_proj",
      "optimizer.betas=0.8,0.9",
      "max_steps=5",
      "lora.layers_to_transform=[0,1]",
    ]);
    expect(config).toMatchObject({ outputDir: "123", maxSteps: 5, data: { validation: 0.1 } });
    expect(config?.lora).toMatchObject({ r: 16, targetModules: ["q_proj", "k_proj"], layersToTransform: [0, 1] });
    expect(config?.optimizer.betas).toEqual([0.8, 0.9]);
  });

  const kept = (text: string) => {
    const { config, problems } = readConfig(minimal, [`output_dir=${text}`]);
    expect(problems, text).toEqual([]);
    return config?.outputDir;
  };
  it("takes text as it was typed, whatever YAML would make of it", () => {
    const typed = [
      "run #2",
      " a ",
      '"a"',
      "'a'",
      "a: b",
      "a=b=c",
      "yes",
      "null",
      "true",
      "007",
      "1e3",
      "0x10",
      "[a]",
      "{a}",
    ];
    for (const text of [
      ...typed,
      "a, b",
      "&a",
      "*a",
      "!a",
      "- a",
      "| a",
      "C:\\runs\\new",
      "日本 語/é",
      "%a",
      "@a",
      "`a",
      "~user",
    ])
      expect(kept(text)).toBe(text);
    const { config } = readConfig(minimal, ["base=a #1, b", "data.train=a: [b", "adapter=null", "base_cache=true #1"]);
    expect(config).toMatchObject({ base: "a #1, b", data: { train: "a: [b" }, adapter: null, baseCache: "true #1" });
  });

  it("types by the key where it may hold text and something else", () => {
    const value = (override: string) => readConfig(minimal, [override]).config;
    expect(value("base_cache=true")?.baseCache).toBe(true);
    expect(value("base_cache=false ")?.baseCache).toBe("false ");
    expect(value("data.validation=1e3")?.data.validation).toBe("1e3");
    expect(value("data.validation=1e-3")?.data.validation).toBe(1e-3);
    expect(value("data.validation=null")?.data.validation).toBeNull();
    expect(value("lora.target_modules=.*(q|v)_proj.{0,2}")?.lora.targetModules).toBe(".*(q|v)_proj.{0,2}");
    expect(value("lora.target_modules=[q_proj, 'v_proj']")?.lora.targetModules).toEqual(["q_proj", "v_proj"]);
    expect(say(minimal, ["lora.r=abc", "shuffle=x"])).toEqual([
      "  shuffle: unknown key; did you mean data.shuffle?",
      '  lora.r: expected whole number, got "abc"',
    ]);
    expect(say(minimal, ["output_dir="])[0]).toContain("output_dir: expected path (at least 1 characters)");
    expect(say(minimal, ["LORA.r=4"])[0]).toContain("did you mean lora.r?");
  });

  it("refuses what would be ignored: keys of another optimiser or start, and LoRA+ without an adapter", () => {
    const { config } = readConfig(minimal, [
      "lora.init=eva",
      "lora.eva_config.rho=1",
      "optimizer.loraplus_lr_ratio=16",
    ]);
    expect(config).toMatchObject({ lora: { evaConfig: { rho: 1, tau: 0.99 } }, optimizer: { loraplusLrRatio: 16 } });
    expect(say(minimal, ["optimizer.loraplus_lr_ratio=16", "full_finetune=true"])).toEqual([
      "  optimizer.loraplus_lr_ratio: is the rate of adapters' B; full_finetune has no adapter",
    ]);
    expect(say(minimal, ["optimizer.name=adafactor", "optimizer.eps=1e-6"])).toEqual([
      "  optimizer.eps: adafactor has no eps; leave it out, or take another optimizer.name",
    ]);
    expect(say(`${minimal}lora: {loftq_config: {loftq_iter: 2}}\n`)).toEqual([
      "  4:8: lora.loftq_config: goes with lora.init loftq, and lora.init is gaussian",
    ]);
  });

  it("reads sections inside sections, in YAML and in overrides, and says what is wrong in them", () => {
    const text = `${minimal}objective:\n  keep: {data: ~/g.jsonl}\n`;
    const { config } = readConfig(text, ["objective.keep.weight=2"], { home: "/home/me" });
    expect(config?.objective.keep).toEqual({
      data: "/home/me/g.jsonl",
      generate: null,
      plain: false,
      weight: 2,
      share: 0.25,
    });
    const overridden = readConfig(minimal, ["objective.keep.data=~/h.jsonl"], { home: "/home/me" });
    expect(overridden.config?.objective.keep.data).toBe("/home/me/h.jsonl");
    expect(say(text.replace("data: ~", "dato: ~"))[0]).toBe(
      "  5:10: objective.keep.dato: unknown key; did you mean objective.keep.data?",
    );
    expect(say(minimal, ["objective.keep=1"])[0]).toContain("objective.keep: holds several keys");
    expect(say(`${minimal}objective: {keep: 1}\n`, ["objective.keep.weight=2"])[0]).toContain(
      "objective.keep: expected",
    );
  });

  it("puts the home folder in the place of ~, in YAML and in overrides, in paths alone", () => {
    const home = "/home/$&me";
    const text = "base: ~/m\noutput_dir: ~x\ndata: {train: ~/a b.jsonl, validation: '~'}\n";
    const overrides = ["adapter=~", "base_cache=~/c", "lora.target_modules=~/q"];
    expect(readConfig(text, overrides, { home }).config).toMatchObject({
      base: `${home}/m`,
      outputDir: "~x",
      adapter: home,
      baseCache: `${home}/c`,
      data: { train: `${home}/a b.jsonl`, validation: home },
      lora: { targetModules: "~/q" },
    });
  });

  it("refuses control characters in a path, with a word on backslashes", () => {
    const text = 'base: "C:\\runs\\new"\noutput_dir: "D:\\data"\n';
    expect(say('base: x\noutput_dir: "C:\\runs\\new"\ndata: {train: y, validation: "\\t"}\n')).toEqual([
      expect.stringMatching(
        /^ {2}2:1: output_dir: a path cannot hold the control character "\\r".*use single quotes or \/$/,
      ),
      expect.stringContaining("3:18: data.validation: a path cannot hold"),
    ]);
    expect(say(text).join()).toContain(
      "2:16: Invalid escape sequence \\d: in double quotes a backslash begins an escape",
    );
    expect(() => resolveConfig({ base: "a\nb", data: { train: "y" } })).toThrow("base: a path cannot hold");
  });

  it("asks for quotes around a path that YAML reads as a number", () => {
    expect(say(`${minimal}output_dir: 2024\n`)).toEqual([
      "  4:1: output_dir: expected path, got 2024; write it in quotes",
    ]);
  });

  it("reads merge keys, one or several, and says what cannot be merged", () => {
    const text = `${minimal}lora: &l {r: 4, alpha: 8}\n`;
    expect(readConfig(text.replace("{r: 4", "{<<: {r: 2, dropout: 0.5}, r: 4")).config?.lora).toMatchObject({
      r: 4,
      dropout: 0.5,
    });
    expect(readConfig(`${minimal}lora:\n  <<: [{r: 2}, {r: 3, alpha: 5}]\n`).config?.lora).toMatchObject({
      r: 2,
      alpha: 5,
    });
    expect(readConfig(`<<: {base: b, seed: 3}\n${minimal}`).config).toMatchObject({ base: "models/x", seed: 3 });
    expect(say(`${minimal}lora: {<<: 5}\n`)).toEqual([expect.stringContaining("4:12: <<: merges maps")]);
    expect(say(`${minimal}lora: {<<: {rnk: 2}}\n`)).toEqual(["  4:1: lora.rnk: unknown key; did you mean lora.r?"]);
  });

  it("refuses values that hold themselves, aliases of nothing and keys that are no text, with their line", () => {
    expect(say(`${minimal}lora: &a\n  r: *a\n`)).toEqual(["  5:6: *a stands inside &a: it would hold itself"]);
    expect(say(`${minimal}lora: &a {<<: *a}\n`)[0]).toContain("4:15: *a stands inside &a");
    expect(say(`${minimal}lora: *b\n`)).toEqual([expect.stringContaining("*b: there is no &b before it")]);
    expect(say(`${minimal}? [a, b]\n: 1\n`)[0]).toContain("4:3: keys are plain text");
    expect(say(`${minimal}lora:\n\tr: 4\n`).join()).toContain("tabs cannot indent YAML");
  });

  it("refuses what is nested too deep at once, in every style", () => {
    const deep = {
      list: `a: ${"[".repeat(200_000)}${"]".repeat(200_000)}`,
      open: `a: ${"[".repeat(200_000)}`,
      maps: `a: ${"{a: ".repeat(100_000)}`,
      entries: `a:\n ${"- ".repeat(200_000)}x`,
      keys: `${"? ".repeat(200_000)}x`,
      lines: Array.from({ length: 1000 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"),
      few: `a: ${"[".repeat(60)}{b: 1}${"]".repeat(60)}`,
    };
    for (const [name, text] of Object.entries(deep)) {
      const start = performance.now();
      expect(say(minimal + text).join(), name).toContain("nested too deep");
      expect(performance.now() - start, name).toBeLessThan(1500);
    }
    expect(say(minimal, [`lora.r=${"[".repeat(100_000)}`])[0]).toContain("lora.r: expected whole number");
  });

  it("cuts a value that is long out of its message", () => {
    expect(say(`${minimal}seed: [${"1, ".repeat(1e5)}1]\n`)[0]!.length).toBeLessThan(400);
  });

  it("keeps the names of modules in patterns, on disk and in TypeScript", () => {
    const { config } = readConfig(minimal, ["lora.rank_pattern={q_proj: 2, 'layers.0.*': 4}"]);
    expect(config?.lora.rankPattern).toEqual({ q_proj: 2, "layers.0.*": 4 });
    expect(readConfig(writeConfig(config!)).config).toEqual(config);
    const { lora } = resolveConfig({ base: "x", data: { train: "y" }, lora: { alphaPattern: { v_proj: 3.5 } } });
    expect(lora).toMatchObject({ rankPattern: {}, alphaPattern: { v_proj: 3.5 } });
    expect(say(`${minimal}lora:\n  rank_pattern: {q_proj: 0}\n`)).toEqual([
      "  5:18: lora.rank_pattern.q_proj: expected whole numbers by module (at least 1), got 0",
    ]);
  });

  describe("several files of rows", () => {
    const files = (train: string, more = "") => `base: x\ndata:\n  train: ${train}\n${more}`;

    it("are paths, or maps with a weight, format and columns of their own; ~ is in each the home folder", () => {
      const text = files("[~/a.jsonl, {path: ~/b.csv, columns: {prompt_text: q}}]").replace("prompt_text", "prompt");
      const { config } = readConfig(text, [], { home: "/home/ada" });
      const train = ["/home/ada/a.jsonl", { path: "/home/ada/b.csv", columns: { prompt: "q" } }];
      expect(config?.data.train).toEqual(train);
      expect(readConfig(writeConfig(config!)).config).toEqual(config);
      expect(resolveConfig({ base: "x", data: { train: [{ path: "a", weight: 2 }] } }).data.train).toHaveLength(1);
    });

    it("may be an override in brackets; a comma alone belongs to a path", () => {
      const train = (text: string) => readConfig(minimal, [`data.train=${text}`]).config?.data.train;
      expect(train("[a.jsonl, b.jsonl]")).toEqual(["a.jsonl", "b.jsonl"]);
      expect(train('["a, b.jsonl",{"path":"c"}]')).toEqual(["a, b.jsonl", { path: "c" }]);
      expect(train("a.jsonl,b.jsonl")).toBe("a.jsonl,b.jsonl");
    });

    it.each([
      ["[{path: a, wieght: 2}]", "3:3: data.train.0.wieght: unknown key; did you mean weight?"],
      ["[{path: a, weight: -1}]", "got -1"],
      ["[{path: a, format: chat}]", "data.train: expected path or list of paths or {path, weight, format, columns}"],
      ["[{weight: 1}]", "data.train: is required"],
      ["[]", "data.train: expected path or list of paths"],
      ["7", "data.train: expected path or list of paths"],
      ["[a, {path: b, weight: 2}]", "data.train: 1 of 2 files have a weight; give each of them one, or none"],
      ["[{path: a, columns: {promt: q}}]", "'promt' is no field of rows"],
      [
        "[{path: a, format: text, columns: {prompt: q}}]",
        "data.train: 'prompt' is no field of rows of the format text",
      ],
      ['["a\\tb"]', "a path cannot hold the control character"],
    ])("%s: %s", (train, problem) => {
      expect(say(files(train)).join("\n")).toContain(problem);
    });

    it("columns name fields that the format reads", () => {
      expect(say(files("a", "  columns: {promt: q}\n"))[0]).toMatch(
        /4:3: data.columns: 'promt' .*Did you mean prompt\?/,
      );
      expect(say(files("a", "  format: text\n  columns: {prompt: q}\n"))[0]).toContain("5:3: data.columns: 'prompt'");
      expect(say(files("a", "  columns: {prompt: 3}\n"))[0]).toContain("expected texts by field, got 3");
      const { config } = readConfig(files("a", "  columns: {prompt: Frage_1, completion: b}\n"));
      expect(config?.data.columns).toEqual({ prompt: "Frage_1", completion: "b" });
    });
  });

  it("names the override that is wrong", () => {
    expect(say(minimal, ["lora.rnk=1", "seed=x", "oops"])).toMatchInlineSnapshot(`
      [
        "  lora.rnk: unknown key; did you mean lora.r?",
        "  oops: expected key=value, e.g. lora.r=16",
        "  seed: expected whole number, got "x"",
      ]
    `);
  });

  it("says what an override may set instead of a section or a part of a map", () => {
    expect(say(minimal, ["lora=8", "lora.rank_pattern.q_proj=4"])).toEqual([
      "  lora: holds several keys; set one of them, as in lora.r=...",
      "  lora.rank_pattern.q_proj: write the whole map: lora.rank_pattern={q_proj: ...}",
    ]);
    expect(say(`${minimal}---\nseed: 3\n`).join()).toContain("a config is one: take out the ---");
  });

  it("writes a config that reads back the same", () => {
    const { config } = readConfig(minimal, ["lora.alpha=3.5"]);
    expect(readConfig(writeConfig(config!)).config).toEqual(config);
  });
});

describe("patterns", () => {
  const targets = { targetModules: ["q_proj", "v_proj"] as const, layersToTransform: [0, 1] };
  it("that mean no adapted module are refused, the nearest name said", () => {
    const refuse = (key: string) => () =>
      refuseIdlePatterns("lora.rank_pattern", { [key]: 2 }, targets, { numHiddenLayers: 4 });
    for (const key of ["q_proj", "self_attn.v_proj", "layers.1..*", "^model.layers.0.self_attn.q_proj"])
      expect(refuse(key), key).not.toThrow();
    expect(refuse("q_prj")).toThrow(/'q_prj' matches no adapted module.*did you mean q_proj/);
    expect(refuse("layers.2..*")).toThrow("matches no adapted module");
    expect(refuse("up_proj")).toThrow("matches no adapted module");
    expect(refuse("(q")).toThrow("missing )");
  });
});

describe("resolveConfig", () => {
  it("types and checks a config written in TypeScript", () => {
    const config = resolveConfig({ base: "x", data: { train: "y", maxSeqLen: 64 }, lora: { useRslora: true } });
    expectTypeOf(config).toEqualTypeOf<TrainConfig>();
    expectTypeOf(config.gradientAccumulationSteps).toEqualTypeOf<number>();
    expect(config.data.maxSeqLen).toBe(64);
    expect(() => resolveConfig({ base: "x", data: { train: "y", maxSeqLen: 1 } })).toThrow(/data\.maxSeqLen/);
    expect(() => resolveConfig({ base: "x", data: { train: "y" }, maxStep: 1 } as never)).toThrow(
      /did you mean maxSteps/,
    );
  });
});

describe("resolveTargets", () => {
  const targets = (
    targetModules: string | string[],
    layers: number,
    more: Omit<Parameters<typeof resolveTargets>[0], "targetModules"> = {},
  ) => resolveTargets({ targetModules, ...more }, { numHiddenLayers: layers });
  it("resolves lists, one name, presets and regular expressions", () => {
    expect(targets(["q_proj", "self_attn.v_proj"], 4).targetModules).toEqual(["q_proj", "v_proj"]);
    expect(targets("q_proj", 4, { layersToTransform: [1, 0] })).toEqual({
      targetModules: ["q_proj"],
      layersToTransform: [0, 1],
    });
    expect(targets("all-linear", 4).targetModules).toHaveLength(7);
    const mlp = ["gate_proj", "up_proj", "down_proj"];
    expect(targets("mlp", 4)).toEqual({ targetModules: mlp });
    expect(targets("attention", 4).targetModules).toEqual(["q_proj", "k_proj", "v_proj", "o_proj"]);
    expect(targets("all-linear", 4, { excludeModules: "attention" }).targetModules).toEqual(mlp);
    const fused = resolveTargets({ targetModules: "mlp" }, { numHiddenLayers: 2, fused: true });
    expect(fused.targetModules).toEqual(["gate_up_proj", "down_proj"]);
    expect(() => targets(["mlp"], 2)).toThrow('"mlp" matches no linear layer');
    expect(targets(".*mlp.*", 4).targetModules).toEqual(["gate_proj", "up_proj", "down_proj"]);
    expect(targets(".*\\.[01]\\..*k_proj", 4).layersToTransform).toEqual([0, 1]);
  });

  it("names a module that the model does not have, and layers out of range", () => {
    expect(() => targets(["q_prj"], 2)).toThrow("did you mean q_proj?");
    expect(() => targets(["q_proj"], 2, { layersToTransform: [2] })).toThrow(UserError);
    expect(() => targets("nothing", 2)).toThrow("matches no module path");
    expect(() => targets("(", 2)).toThrow(UserError);
  });

  it("an expression may choose other linear layers in each block, a list whole paths", () => {
    expect(targets(".*0.*q_proj|.*1.*v_proj", 2)).toEqual({
      targetModules: ["q_proj", "v_proj"],
      excludedModules: ["model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj"],
    });
    expect(targets(["v_proj", "model.layers.3.mlp.up_proj"], 4, { layersToTransform: 1 })).toEqual({
      targetModules: ["v_proj", "up_proj"],
      layersToTransform: [1, 3],
      excludedModules: ["model.layers.1.mlp.up_proj", "model.layers.3.self_attn.v_proj"],
    });
  });

  it("what is excluded carries none; an exclusion that means nothing, or leaves nothing, is refused", () => {
    const without = (excludeModules: string | string[]) => targets(["q_proj", "v_proj"], 2, { excludeModules });
    expect(without(["v_proj", "lm_head"])).toEqual({ targetModules: ["q_proj"] });
    expect(without("v_proj")).toEqual({ targetModules: ["q_proj"] });
    expect(without(["layers.0.self_attn.v_proj"]).excludedModules).toEqual(["model.layers.0.self_attn.v_proj"]);
    expect(without(".*\\.1\\..*q_proj").excludedModules).toEqual(["model.layers.1.self_attn.q_proj"]);
    expect(() => without(["v_prj"])).toThrow(/lora.exclude_modules: "v_prj" matches no linear .*did you mean v_proj/);
    expect(() => without("nothing")).toThrow("lora.exclude_modules: 'nothing' matches no module path");
    expect(() => without(["q_proj", "v_proj"])).toThrow("no linear layer is left to be adapted");
  });
});

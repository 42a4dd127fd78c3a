import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { runCli } from "../../test/run-cli.js";
import { EXPORT_TARGET_NAMES } from "../export/targets/index.js";
import { adapterShapes, readAdapter, writeAdapter } from "../formats/peft/adapter.js";
import { linearLora } from "../models/lora-config.js";
import { nodeFiles } from "../node/files.js";
import { f32, random } from "../tensor/index.js";
import { openModel } from "../weights/model-folder.js";

// The verbs of an adapter's later life, on the bundled tiny model.
const BASE = fileURLToPath(new URL("../../models/tiny", import.meta.url));

let folder: string;
const at = (name: string) => join(folder, name);
const model = async () => {
  const { config, close } = await openModel(nodeFiles, BASE);
  await close();
  return config;
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-life-"));
  const shape = await model();
  for (const [name, targetModules] of [
    ["a", ["q_proj", "v_proj"]],
    ["b", ["q_proj", "down_proj"]],
  ] as const) {
    const config = { r: 2, alpha: 4, dropout: 0, useRslora: true, init: "gaussian", targetModules } as const;
    const rng = random(1, name);
    const tensors = new Map(
      [...adapterShapes(config, shape)].map(([key, shape]) => {
        return [
          key,
          f32(
            shape,
            Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => 0.1 * rng.normal()),
          ),
        ];
      }),
    );
    await writeAdapter(nodeFiles, at(name), { config, tensors, base: { name: BASE } });
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("export", () => {
  it("prints the gates and one table of who loads it", async () => {
    const { code, out } = await runCli(
      "export",
      "--adapter",
      at("a"),
      "--to",
      "gguf",
      "--quantize",
      "q8_0",
      "--output",
      at("m.gguf"),
    );
    expect(code).toBe(0);
    expect(out).toMatch(/same prompt, same ids: \d texts, 2 conversations/);
    expect(out).toMatch(/greedy tokens: as base \+ adapter: merged (\d+) of \1, /);
    expect(out).toMatch(/llama\.cpp +yes +llama-cli -m/);
    expect(out).toMatch(/vLLM +no /);
  });

  it("says what is wrong with how it was called, and leaves nothing", async () => {
    const common = ["export", "--adapter", at("a"), "--output", at("none")];
    expect(await runCli(...common, "--to", "onxx")).toMatchObject({
      code: 2,
      err: expect.stringContaining(
        `--to: expected one of ${EXPORT_TARGET_NAMES.join(", ")}, got 'onxx'; did you mean onnx?`,
      ),
    });
    expect(await runCli(...common, "--to", "gguf", "--quantize", "q2_k")).toMatchObject({ code: 2 });
    expect(await runCli(...common, "--to", "hf", "--quantize", "q4_0")).toMatchObject({
      code: 1,
      err: expect.stringContaining("f32, f16, bf16"),
    });
    expect(existsSync(at("none"))).toBe(false);
  });

  it("Ctrl-C ends it with 130 and takes away what it had begun", async () => {
    const before = process.listeners("SIGINT");
    const ending = runCli("export", "--adapter", at("a"), "--to", "hf", "--output", at("new/stopped"));
    let own: NodeJS.SignalsListener | undefined;
    await vi.waitFor(() => {
      own = process.listeners("SIGINT").find((listener) => !before.includes(listener));
      expect(own).toBeDefined();
      expect(readdirSync(at("new"))).not.toEqual([]);
    }, 30_000);
    own!("SIGINT");
    expect(await ending).toMatchObject({ code: 130, err: "lowrank: interrupted; nothing was kept\n" });
    expect(readdirSync(at("new"))).toEqual([]);
  });
});

describe("import, combine, extract", () => {
  it("a LoRA GGUF comes back as the adapter it was", async () => {
    expect(
      (await runCli("export", "--adapter", at("a"), "--to", "gguf-lora", "--no-run", "--output", at("a.gguf"))).code,
    ).toBe(0);
    const { code, out } = await runCli("import", at("a.gguf"), "--base", BASE, "--output", at("back"));
    expect(code).toBe(0);
    expect(out).toContain("from llama.cpp, rank 2, scale 2.828");
    const [before, after] = [
      await readAdapter(nodeFiles, at("a"), await model()),
      await readAdapter(nodeFiles, at("back"), await model()),
    ];
    expect(after.tensors).toEqual(before.tensors);
    expect(await runCli("import", at("a"), "--base", BASE, "--output", at("c"))).toMatchObject({
      code: 1,
      err: expect.stringContaining("a PEFT adapter already"),
    });
  });

  it("adapters are added; what one adds another takes away", async () => {
    const { code, out } = await runCli(
      "combine",
      "--adapter",
      at("a"),
      at("b"),
      "--weights",
      "0.7,0.3",
      "--output",
      at("both"),
    );
    expect(code).toBe(0);
    expect(out).toContain("cat of 2 adapters, rank 4 on q_proj, v_proj, down_proj");
    const wrong = ["combine", "--adapter", at("a"), at("b"), "--output", at("d")];
    expect(await runCli(...wrong, "--weights", "1")).toMatchObject({
      code: 2,
      err: expect.stringContaining("expected 2 numbers"),
    });
    expect(await runCli(...wrong, "--method", "ties")).toMatchObject({
      code: 1,
      err: expect.stringContaining("needs a density"),
    });
    expect(await runCli(...wrong, "--method", "svd", "--rank", "2")).toMatchObject({ code: 0 });
  });

  it("an adapter that was merged is found again", async () => {
    const merged = [
      "export",
      "--adapter",
      at("b"),
      "--to",
      "hf",
      "--quantize",
      "f32",
      "--no-run",
      "--output",
      at("tuned"),
    ];
    expect((await runCli(...merged)).code).toBe(0);
    const { code, out } = await runCli(
      "extract",
      "--base",
      BASE,
      "--tuned",
      at("tuned"),
      "--rank",
      "2",
      "--output",
      at("found"),
    );
    expect(code).toBe(0);
    expect(out).toMatch(/ {3}2 {2}#{40} 100\.000 %/);
    expect(readdirSync(at("found"))).toContain("tokenizer.json");
    const uneven = ["extract", "--base", BASE, "--tuned", at("tuned"), "--rank", "1", "--output", at("uneven")];
    expect((await runCli(...uneven, "--rank-pattern", "down_proj=2,layers.0..*=3")).code).toBe(0);
    const again = await readAdapter(nodeFiles, at("uneven"), await model());
    expect(linearLora(again.config, 0, "q_proj")).toMatchObject({ r: 3, scale: 1 });
    expect(linearLora(again.config, 1, "down_proj")).toMatchObject({ r: 2, scale: 1 });
    expect(linearLora(again.config, 1, "q_proj")).toMatchObject({ r: 1, scale: 1 });
    expect((await runCli(...uneven, "--rank-pattern", "q_proj")).err).toContain("expected module=rank");
    const rows = Array.from({ length: 4 }, (_, i) => ({ prompt: `Q${i}?`, completion: ` A${i} and more.` }));
    writeFileSync(at("rows.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
    const report = ["--data", at("rows.jsonl"), "--report", at("ranks.svg"), "--json"];
    const worth = await runCli(
      "extract",
      "--base",
      BASE,
      "--tuned",
      at("tuned"),
      "--rank",
      "2",
      "--output",
      at("f"),
      ...report,
    );
    const { losses, tuned_loss: tuned } = JSON.parse(worth.out) as {
      losses: { rank: number; loss: number }[];
      tuned_loss: number;
    };
    expect(losses.map(({ rank }) => rank)).toEqual([0, 1, 2]);
    expect(losses[0]!.loss).not.toBeCloseTo(tuned, 4);
    expect(losses[2]!.loss).toBeCloseTo(tuned, 4); // the whole difference has rank 2
    const svg = readFileSync(at("ranks.svg"), "utf8");
    expect(svg).toContain("tuned model</text>");
    expect(svg.match(/<circle/g)).toHaveLength(2 + 3);
    const wrong = ["extract", "--base", BASE, "--tuned", at("tuned"), "--output", at("e"), "--targets", "q_prj"];
    expect(await runCli(...wrong)).toMatchObject({ code: 2, err: expect.stringContaining("did you mean q_proj?") });
  });
});

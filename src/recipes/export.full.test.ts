import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { llamaCpp, llamaCppGreedy, printable } from "../../test/llama-cpp.js";
import { writeNoise } from "../../test/noise-adapter.js";
import { exportGguf } from "../export/gguf.js";
import { exportGgufLora } from "../export/gguf-lora.js";
import { modelfile } from "../export/modelfile.js";
import { exportTarget } from "../export/targets/index.js";
import { type Content, chunksOf, type Files } from "../formats/files.js";
import { jsonBytes } from "../formats/json.js";
import { type Adapter, adaptedModules, readAdapter } from "../formats/peft/adapter.js";
import { loraScale } from "../models/lora-config.js";
import { nodeFiles } from "../node/files.js";
import { nodePlatform } from "../node/platform.js";
import { createChatTemplate, directRunner } from "../tokenizers/chat-template.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { openModel } from "../weights/model-folder.js";
import { type ExportOptions, exportAdapter } from "./export.js";

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const TINY = root("models/tiny");
const platform = nodePlatform();
let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-export-"));
  await writeNoise(TINY, at("adapter"), 0.1);
});
afterAll(async () => {
  await platform.dispose();
  rmSync(folder, { recursive: true, force: true });
});

async function whole(content: Content): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of chunksOf(content)) chunks.push(chunk.slice());
  return Buffer.concat(chunks);
}

const run = (options: Partial<ExportOptions> & Pick<ExportOptions, "to" | "output">) =>
  exportAdapter({ adapter: at("adapter"), device: "cpu", threads: 1, ...options }, platform);

describe("every target passes its gates on the bundled model", () => {
  test("gguf in eight bits: one file, its Modelfile, logits within a printed bound", async () => {
    const report = await run({ to: "gguf", quantize: "q8_0", output: at("m.gguf") });
    expect(report.files.map(({ name }) => name)).toEqual([at("m.gguf"), at("m.gguf.Modelfile")]);
    const found = Object.fromEntries(report.gates.map(({ gate, found }) => [gate, found]));
    expect(found["tied head"]).toBe("tied, as in the base");
    expect(found["greedy tokens"]).toMatch(/merged (\d+) of \1,/);
    expect(found.logits).toMatch(/worst difference [\d.e-]+ \(q8_0; bound/);
  });

  test("gguf: folders above it are made; a Modelfile that is there already is not written over", async () => {
    const report = await run({ to: "gguf", run: false, output: at("deep/er/m.gguf") });
    expect(report.files.map(({ name }) => name)).toEqual([at("deep/er/m.gguf"), at("deep/er/m.gguf.Modelfile")]);
    writeFileSync(at("mine.gguf.Modelfile"), "FROM elsewhere");
    await expect(run({ to: "gguf", run: false, output: at("mine.gguf") })).rejects.toThrow(
      "something is there already",
    );
    expect(readdirSync(folder)).not.toContain("mine.gguf");
  });

  test("a type's bound is that of the type asked for, whatever single rows are stored in", async () => {
    const { gates } = await run({ to: "gguf", quantize: "q4_k", output: at("k.gguf") }); // rows of 128 become q8_0
    expect(gates.at(-1)!.found).toMatch(/\(q4_k; bound/);
  });

  test("peft: rsLoRA's scale said by alpha and r alone (trap 13)", async () => {
    await run({ to: "peft", output: at("peft") });
    const { config, close } = await openModel(nodeFiles, TINY);
    await close();
    const [before, after] = [
      await readAdapter(nodeFiles, at("adapter"), config),
      await readAdapter(nodeFiles, at("peft"), config),
    ];
    expect(after.config.useRslora).toBe(false);
    expect(after.config.alpha / after.config.r).toBeCloseTo(loraScale(before.config), 12);
    expect(readdirSync(at("peft"))).toContain("tokenizer.json");
  });

  test("hf: every token that ends a turn ends a text", async () => {
    await run({ to: "hf", output: at("hf") });
    const config = JSON.parse(readFileSync(at("hf/generation_config.json"), "utf8")) as Record<string, unknown>;
    expect(config.eos_token_id).toBe(2);
  });

  test("onnx: a type that strays too far is left out with a warning, and refused where it was asked for", async () => {
    await writeNoise(TINY, at("loud"), 0.8);
    const { files, warnings } = await run({ adapter: at("loud"), to: "onnx", output: at("loud-web") });
    expect(files.map(({ name }) => name).filter((name) => name.endsWith(".onnx"))).toEqual([
      at("loud-web/onnx/model.onnx"),
    ]);
    expect(warnings).toEqual([
      expect.stringMatching(/^f16 is too coarse .* its file was left out$/),
      expect.stringMatching(/^q4_0 is too coarse .* its file was left out$/),
    ]);
    const asked = run({ adapter: at("loud"), to: "onnx", quantize: "q4_0", output: at("coarse-web") });
    await expect(asked).rejects.toThrow("Take a finer type, or keep it unchecked with `run: false`");
    expect(readdirSync(folder).filter((name) => name.startsWith("coarse-web"))).toEqual([]);
  });

  test("onnx: every type, by running its file; four bits to the last (they are ggml's q4_0)", async () => {
    const { files, gates, systems } = await run({ to: "onnx", output: at("web") });
    expect(files.map(({ name }) => name.slice(at("web").length + 1))).toEqual([
      "config.json",
      "generation_config.json",
      "onnx/model.onnx",
      "onnx/model_fp16.onnx",
      "onnx/model_q4.onnx",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const found = Object.fromEntries(gates.map(({ gate, found }) => [gate, found]));
    expect(found["greedy tokens, f32"]).toMatch(/merged (\d+) of \1, export \1 of \1/);
    expect(found["logits, q4_0"]).toMatch(/worst difference/);
    expect(systems.find(({ system }) => system === "transformers.js")!.loads).toBe(true);
    const config = JSON.parse(readFileSync(at("web/config.json"), "utf8")) as Record<string, unknown>;
    expect(config["transformers.js_config"]).toEqual({ dtype: "fp32", kv_cache_dtype: { fp16: "float16" } });
  });

  test("gguf-lora, and a folder as the output of gguf", async () => {
    const lora = await run({ to: "gguf-lora", output: at("a.gguf") });
    expect(lora.gates.map(({ gate }) => gate)).toContain("effective scale");
    const short = await run({ to: "gguf-lora", quantize: "bf16", output: at("short.gguf") });
    expect(short.gates.at(-1)!.found).toMatch(/\(bf16; bound/);
    const whole = await run({ to: "gguf", output: at("whole"), run: false });
    expect(readdirSync(at("whole"))).toEqual(["Modelfile", "whole.gguf"]);
    expect(whole.gates.at(-1)!.found).toContain("not run");
  });
});

test("ranks and alphas of single modules survive every target, and who reads one alpha for all is told", async () => {
  const patterns = { rankPattern: { "layers\\.0\\..*": 2, mlp: 1, v_proj: 5 }, alphaPattern: { "[kq]_proj": 9 } };
  const before = await writeNoise(TINY, at("patterned"), 0.1, patterns);
  const { config, close } = await openModel(nodeFiles, TINY);
  await close();
  const scales = (adapter: Adapter) => adaptedModules(adapter).map(({ r, scale }) => [r, scale.toPrecision(6)]);
  const peft = await run({ adapter: at("patterned"), to: "peft", output: at("patterned-peft") });
  const after = await readAdapter(nodeFiles, at("patterned-peft"), config);
  expect(after.config.useRslora).toBe(false);
  expect(scales(after)).toEqual(scales(before));
  expect(peft.gates.find(({ gate }) => gate === "effective scale")!.found).toMatch(/ to .* as trained \(by patterns\)/);
  const verdict = (system: string) => peft.systems.find((row) => row.system === system)!;
  expect(verdict("vLLM")).toMatchObject({ loads: false, how: expect.stringContaining("scales all modules alike") });
  expect(verdict("Ollama")).toMatchObject({ loads: false, how: expect.stringContaining("one alpha") });
  for (const to of ["hf", "gguf-lora"] as const) {
    const { gates } = await run({ adapter: at("patterned"), to, quantize: "f32", output: at(`patterned-${to}`) });
    expect(gates.find(({ gate }) => gate === "greedy tokens")!.found).toMatch(/merged (\d+) of \1, export \1 of \1/);
  }
});

describe("what cannot be exported leaves nothing behind", () => {
  test("an export that does not compute what was written; values beyond the type", async () => {
    const before = readdirSync(folder);
    // Written without the end of the last norm, which no header shows.
    const write: Files["write"] = async (path, content) => {
      const bytes = await whole(content);
      await nodeFiles.write(path, path.endsWith(".gguf") ? bytes.fill(0, bytes.length - 64) : bytes);
    };
    const damaged = { ...platform, files: { ...nodeFiles, write } };
    const attempt = exportAdapter({ adapter: at("adapter"), to: "gguf", output: at("d.gguf"), device: "cpu" }, damaged);
    await expect(attempt).rejects.toThrow(/does not compute what was written: logits differ by .* it was not kept/);
    await writeNoise(TINY, at("huge"), 300);
    await expect(run({ adapter: at("huge"), to: "gguf", quantize: "f16", output: at("huge.gguf") })).rejects.toThrow(
      "cannot be stored as f16",
    );
    expect(readdirSync(folder)).toEqual([...before, "huge"].sort());
  });

  test("names that are taken, types that a target lacks, adapters without a base", async () => {
    await expect(run({ to: "hf", output: at("adapter") })).rejects.toThrow("something is there already");
    await expect(run({ to: "gguf-lora", quantize: "q8_0", output: at("q.gguf") })).rejects.toThrow(
      "is written as f32, f16, bf16",
    );
    await expect(run({ to: "hf", output: at("x.gguf") })).rejects.toThrow("writes a folder");
    const config = JSON.parse(readFileSync(at("adapter/adapter_config.json"), "utf8")) as object;
    await nodeFiles.makeFolder(at("nameless"));
    writeFileSync(at("nameless/adapter_config.json"), JSON.stringify({ ...config, base_model_name_or_path: null }));
    await expect(run({ adapter: at("nameless"), to: "peft", output: at("y") })).rejects.toThrow("give it with `base`");
  });
});

test("the table of systems knows vLLM's ranks (trap 17)", async () => {
  const base = await openModel(nodeFiles, TINY);
  const adapter = await readAdapter(nodeFiles, at("adapter"), base.config);
  const vllm = (r: number, kind: "hf" | "gguf" = "hf") => {
    const systems = exportTarget("peft").systems({
      path: "out",
      base: { ...base, kind },
      adapter: { ...adapter, config: { ...adapter.config, r } },
    });
    return systems.find(({ system }) => system === "vLLM")!;
  };
  expect(vllm(16).how).not.toContain("--max-lora-rank");
  expect(vllm(48).how).toContain("--max-lora-rank 64");
  expect(vllm(300).how).toContain("--max-lora-rank 320");
  expect(vllm(513)).toMatchObject({ loads: false, how: expect.stringContaining("largest rank is 512") });
  expect(vllm(8, "gguf").loads).toBe(false);
  await base.close();
});

describe("Modelfile", () => {
  const chatMl =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  const write = async (chatTemplate: string) => {
    const { tokenizer: files, close } = await openModel(nodeFiles, TINY);
    await close();
    const tokenizer = createTokenizer(files);
    return modelfile(
      "m.gguf",
      createChatTemplate({ chatTemplate, tokenizerConfig: {} }, tokenizer, { runner: directRunner }),
      tokenizer,
      new Set([2]),
    );
  };

  test("a template that writes turn after turn becomes Ollama's, default system message included (trap 3)", async () => {
    const turn = (role: string, text: string) => `<|im_start|>${role}\n${text}<|im_end|>\n`;
    const branch = (word: string, role: string) => `{{ ${word} eq .Role "${role}" }}${turn(role, "{{ .Content }}")}`;
    const text = await write(
      `{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nBe kind<|im_end|>\\n' }}{% endif %}${chatMl}`,
    );
    const branches = branch("if", "system") + branch("else if", "user") + branch("else if", "assistant");
    expect(text).toBe(
      `FROM ./m.gguf\nTEMPLATE """{{ range .Messages }}${branches}{{ end }}{{ end }}<|im_start|>assistant\n"""\n` +
        'SYSTEM """Be kind"""\nPARAMETER stop "<|im_end|>"\n',
    );
  });

  test("a template that looks at more than one turn is left to Ollama, and said so", async () => {
    const text = await write(
      "{{ messages | length }}{% for m in messages %}{{ m.role + ':' + m.content }}{% endfor %}",
    );
    expect(text).not.toContain('TEMPLATE """');
    expect(text).toContain("does not write turn after turn");
  });
});

describe.skipIf(!llamaCpp)("llama.cpp says what PEFT says", () => {
  interface Expected {
    prompt: number[];
    variants?: Record<string, { greedy: number[] }>;
    [variant: string]: unknown;
  }

  test.each([
    ["llama2", "llama2"],
    ["llama3", "llama3"],
    ["bias", "bias"],
    ["llama3", "patterns"],
  ])(
    "a model as %s, adapter of %s: merged GGUF, and LoRA GGUF on the base's (traps 13, 15, 20)",
    async (shape, name) => {
      const vectors = root(`test/reference/vectors/${name}`);
      const base = at(`${name}-base`);
      await nodeFiles.makeFolder(base);
      for (const file of ["config.json", "generation_config.json", "model.safetensors"])
        writeFileSync(join(base, file), readFileSync(root(`test/reference/vectors/${shape}/model/${file}`)));
      const { vocab_size: size } = JSON.parse(readFileSync(join(base, "config.json"), "utf8")) as {
        vocab_size: number;
      };
      writeFileSync(join(base, "tokenizer.json"), jsonBytes(printable(size)));
      writeFileSync(join(base, "tokenizer_config.json"), jsonBytes({ eos_token: "</s>", unk_token: "<unk>" }));
      const expected = JSON.parse(readFileSync(join(vectors, "expected.json"), "utf8")) as Expected;
      const greedy = (expected.all as { greedy: number[] }).greedy;
      // The models' vocabularies are too small for a tokenizer that llama.cpp has an equal of, so the gates are left out.
      const model = await openModel(nodeFiles, base);
      const adapter = await readAdapter(nodeFiles, join(vectors, "all"), model.config);
      const as = { type: "f32", name } as const;
      await exportGguf(nodeFiles, model, adapter, at(`${name}.gguf`), as);
      await exportGguf(nodeFiles, model, undefined, at(`${name}-base.gguf`), as);
      await exportGgufLora(nodeFiles, adapter, model.config, at(`${name}-lora.gguf`), as);
      await model.close();
      expect(await llamaCppGreedy(at(`${name}.gguf`), "-", expected.prompt, greedy.length)).toEqual(greedy);
      const adapted = await llamaCppGreedy(
        at(`${name}-base.gguf`),
        at(`${name}-lora.gguf`),
        expected.prompt,
        greedy.length,
      );
      expect(adapted).toEqual(greedy);
      expect(await llamaCppGreedy(at(`${name}-base.gguf`), "-", expected.prompt, greedy.length)).not.toEqual(greedy);
    },
    60_000,
  );
});

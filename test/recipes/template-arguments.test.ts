import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { applyAdapter, type LoadedModel, loadModel } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { encodePrompt } from "../../src/recipes/generate.js";
import { createServer } from "../../src/server/index.js";
import { runCli } from "../run-cli.js";
import { familyFolder, familyRows } from "./family-folder.js";

// A template in the manner of Qwen3's, in the letters that the tiny tokenizer has: () stands for an empty thought.
const THINKING =
  "{% for m in messages %}{{ m.role + ':' }}{% if m.role == 'assistant' and loop.last %}(){% endif %}{{ m.content }}" +
  "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant:" +
  "{% if enable_thinking is defined and not enable_thinking %}(){% endif %}{% endif %}";
const ASKED = { messages: [{ role: "user", content: "what is 3?" }] } as const;

const folder = mkdtempSync(join(tmpdir(), "lowrank-arguments-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("arguments of the chat template: trained, kept, generated and served alike", () => {
  const [run, merged] = [join(folder, "run"), join(folder, "merged")];
  const rows = familyRows(folder);
  let base: string;
  let model: LoadedModel;
  beforeAll(async () => {
    base = familyFolder(folder, "qwen3");
    const path = join(base, "tokenizer_config.json");
    const config = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...config, chat_template: THINKING }));
    const keys = ["max_steps=1", "threads=1", "data.chat_template_kwargs={enable_thinking: false}"];
    const trained = await runCli("train", "--base", base, "--data", rows, "--output", run, ...keys);
    expect(trained).toMatchObject({ code: 0 });
    model = await loadModel(base, { threads: 1 });
  });
  afterAll(() => model.dispose());

  const thinks = (ids: readonly number[]): boolean => {
    const text = model.tokenizer.decode(ids);
    expect(text).toContain("what is 3?\nassistant:");
    return !text.endsWith("assistant:()");
  };

  it("targets begin behind what the arguments have the template write", async () => {
    for (const [enabled, targets] of [
      [true, "()it is 0 and 1."],
      [false, "it is 0 and 1."],
    ] as const) {
      const keys = ["--rows", "1", "--json", `data.chat_template_kwargs={enable_thinking: ${enabled}}`];
      const { out } = await runCli("preview", "--base", base, "--data", rows, ...keys);
      const { ids, supervised } = JSON.parse(out) as { ids: number[]; supervised: number[] };
      expect(model.tokenizer.decode(ids.filter((_, i) => supervised[i]))).toContain(targets);
      expect(model.tokenizer.decode(ids.filter((_, i) => supervised[i])).startsWith(targets)).toBe(true);
    }
  });

  it("the adapter, and what is merged of it, answer as they were trained; the base as ever", async () => {
    const adapter = await applyAdapter(model, run);
    expect(thinks((await encodePrompt(model, ASKED)).promptIds)).toBe(true);
    expect(thinks((await encodePrompt(model, ASKED, { adapter })).promptIds)).toBe(false);
    adapter.dispose();
    expect(await runCli("merge", "--base", base, "--adapter", run, "--output", merged)).toMatchObject({ code: 0 });
    const asked = join(folder, "asked.json");
    writeFileSync(asked, JSON.stringify(ASKED));
    const generated = async (...more: string[]) => {
      const { out } = await runCli("generate", "--messages", asked, "--max-new-tokens", "1", "--json", ...more);
      return thinks((JSON.parse(out) as { prompt_ids: number[] }).prompt_ids);
    };
    const thinking = ["--chat-template-kwargs", '{"enable_thinking": true}'];
    expect(await generated("--base", merged)).toBe(false);
    expect(await generated("--base", base, "--adapter", run)).toBe(false);
    expect(await generated("--base", base, "--adapter", run, ...thinking)).toBe(true);
    expect(await generated("--base", base)).toBe(true);
  });

  it("a request says otherwise for itself, as with vLLM", async () => {
    const registry = createAdapterRegistry(model);
    await registry.load("tuned", run);
    const server = createServer(registry, { baseId: "base" });
    const ask = async (name: string, kwargs?: unknown) => {
      const body = JSON.stringify({ model: name, ...ASKED, max_tokens: 1, chat_template_kwargs: kwargs });
      const headers = { "content-type": "application/json" };
      const url = "http://localhost/v1/chat/completions";
      const response = await server.fetch(new Request(url, { method: "POST", headers, body }));
      return (await response.json()) as { usage: { prompt_tokens: number }; error?: { message: string } };
    };
    const tokens = async (...asked: Parameters<typeof ask>) => (await ask(...asked)).usage.prompt_tokens;
    const short = await tokens("base");
    expect(await tokens("base", { enable_thinking: false })).toBe(short + 2);
    expect(await tokens("tuned")).toBe(short + 2);
    expect(await tokens("tuned", { enable_thinking: true })).toBe(short);
    expect(await tokens("base", { unheard_of: 1 })).toBe(short);
    for (const wrong of [{ messages: [] }, "x", [1]]) {
      expect((await ask("base", wrong)).error!.message).toMatch(
        /^chat_template_kwargs: (expected an object|'messages')/,
      );
    }
  });

  it("what the template does not read is refused before anything is trained or loaded", async () => {
    const said = "nowhere reads 'enable_thinkin'; did you mean 'enable_thinking'?";
    const key = "data.chat_template_kwargs={enable_thinkin: false}";
    const trained = await runCli("train", "--base", base, "--data", rows, "--output", join(folder, "no"), key);
    expect(trained).toMatchObject({ code: 1, err: expect.stringContaining(said) });
    const flag = ["--chat-template-kwargs", '{"enable_thinkin": false}'];
    const generated = await runCli("generate", "--base", base, "--prompt", "x", ...flag);
    expect(generated).toMatchObject({ code: 1, err: expect.stringContaining(said) });
    const bare = await runCli("generate", "--base", base, "--prompt", "x", "--chat-template-kwargs", "false");
    expect(bare).toMatchObject({ code: 2, err: expect.stringContaining("expected an object in JSON") });
    const named = await runCli("plan", "--base", base, "--data", rows, "data.chat_template_kwargs={tools: 1}");
    expect(named.err).toContain("'tools' comes with every conversation");
  });
});

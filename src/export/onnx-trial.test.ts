import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Adapter, adapterShapes, writeAdapter } from "../formats/peft/adapter.js";
import { nodeFiles } from "../node/files.js";
import { nodePlatform } from "../node/platform.js";
import { exportAdapter } from "../recipes/export.js";
import { generate } from "../recipes/generate.js";
import { applyAdapter, loadModel } from "../recipes/model.js";
import { f32, random } from "../tensor/index.js";
import { openModel } from "../weights/model-folder.js";

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const TINY = root("models/tiny");

/** transformers.js: installed beside this package, or in the folder that LOWRANK_TRANSFORMERS_JS names. */
const modules = join(process.env.LOWRANK_TRANSFORMERS_JS ?? root("."), "node_modules");
const dist = join(modules, "@huggingface/transformers/dist");
const found = existsSync(dist);
if (!found)
  console.info(
    "transformers.js's own tests are skipped: npm install --ignore-scripts @huggingface/transformers in a folder and name it in LOWRANK_TRANSFORMERS_JS",
  );
const chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => existsSync(path));
if (found && !chromium)
  console.info("transformers.js in a browser is skipped: there is no chromium (apt-get install chromium)");

const MESSAGES = [{ role: "user", content: "Who are you?" }] as const;
const TOKENS = 16;

/** What Node and a page do alike: `pipeline` and `env` are transformers.js's. */
const GREEDY = `async (pipeline, env, root, dtype) => {
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = root;
  const generator = await pipeline("text-generation", "web", dtype ? { dtype } : {});
  const messages = ${JSON.stringify(MESSAGES)};
  const options = { max_new_tokens: ${TOKENS}, do_sample: false };
  const inputs = generator.tokenizer.apply_chat_template(messages, { add_generation_prompt: true, return_dict: true });
  const ids = await generator.model.generate({ ...inputs, ...options });
  const [reply] = await generator(messages, options);
  return { ids: [...ids.data].map(Number), text: reply.generated_text.at(-1).content };
}`;

interface Reply {
  ids: number[];
  text: string;
}

describe.skipIf(!found)("transformers.js says what base + adapter says", () => {
  let folder: string;
  let expected: Reply;
  const platform = nodePlatform();

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "lowrank-web-"));
    const { config: model, close } = await openModel(nodeFiles, TINY);
    await close();
    const targetModules = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"] as const;
    const config = { r: 4, alpha: 6, dropout: 0, useRslora: true, init: "gaussian", targetModules } as const;
    const rng = random(3, "web");
    const noise = (size: number) => Float32Array.from({ length: size }, () => 0.1 * rng.normal());
    const shapes = [...adapterShapes(config, model)];
    const tensors = new Map(shapes.map(([name, shape]) => [name, f32(shape, noise(shape.reduce((a, b) => a * b)))]));
    const adapter: Adapter = { config, tensors, base: { name: TINY } };
    await writeAdapter(nodeFiles, join(folder, "adapter"), adapter);
    await exportAdapter(
      { adapter: join(folder, "adapter"), to: "onnx", output: join(folder, "web"), device: "cpu" },
      platform,
    );
    const loaded = await loadModel(TINY, platform, { device: "cpu" });
    const greedy = { temperature: 0, maxNewTokens: TOKENS };
    const bare = await generate(loaded, { messages: MESSAGES }, greedy).result();
    const own = await applyAdapter(loaded, join(folder, "adapter"));
    const { promptIds, tokenIds, text } = await generate(
      loaded,
      { messages: MESSAGES },
      { ...greedy, adapter: own },
    ).result();
    await loaded.dispose();
    expect(tokenIds).not.toEqual(bare.tokenIds);
    expected = { ids: [...promptIds, ...tokenIds], text };
  });
  afterAll(async () => {
    await platform.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  test.each([undefined, "fp16"])("in Node, dtype %s: the same tokens, the same text", async (dtype) => {
    const entry = pathToFileURL(join(dist, "transformers.node.mjs")).href;
    const script = `const { pipeline, env } = await import(${JSON.stringify(entry)});
      console.log(JSON.stringify(await (${GREEDY})(pipeline, env, ${JSON.stringify(`${folder}/`)}, ${JSON.stringify(dtype) ?? "undefined"})));`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
    expect(JSON.parse(stdout.trim().split("\n").at(-1)!)).toEqual(expected);
  });

  test("in Node, at four bits: it loads and answers", async () => {
    const entry = pathToFileURL(join(dist, "transformers.node.mjs")).href;
    const script = `const { pipeline, env } = await import(${JSON.stringify(entry)});
      console.log(JSON.stringify(await (${GREEDY})(pipeline, env, ${JSON.stringify(`${folder}/`)}, "q4")));`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script]);
    const { ids } = JSON.parse(stdout.trim().split("\n").at(-1)!) as Reply;
    const prompt = expected.ids.length - TOKENS;
    expect(ids.slice(0, prompt)).toEqual(expected.ids.slice(0, prompt));
    expect(ids.length).toBeGreaterThan(prompt);
  });

  test.skipIf(!chromium)("in a browser, on WebAssembly: the same tokens, the same text", async () => {
    expect(await inChromium(folder)).toEqual(expected);
  });
});

const PAGE = `<!doctype html><script type="module">
const say = (result) => fetch("/result", { method: "POST", body: JSON.stringify(result) });
try {
  const { pipeline, env } = await import("/modules/@huggingface/transformers/dist/transformers.min.js");
  env.useBrowserCache = false;
  env.backends.onnx.wasm.wasmPaths = "/modules/onnxruntime-web/dist/";
  env.backends.onnx.wasm.numThreads = 1;
  const wasm = (task, name, options) => pipeline(task, name, { device: "wasm", ...options });
  say(await (${GREEDY})(wasm, env, "/models/"));
} catch (error) {
  say({ error: String(error?.stack ?? error) });
}
</script>`;
const TYPES: Readonly<Record<string, string>> = {
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};

/** Serves the page, the modules and the models to a browser without a window, and waits for what the page says. */
async function inChromium(models: string): Promise<unknown> {
  const profile = mkdtempSync(join(tmpdir(), "lowrank-chromium-"));
  let answer: (result: unknown) => void;
  const answered = new Promise<unknown>((resolve) => {
    answer = resolve;
  });
  const server = createServer(async (request, response) => {
    const [, kind, rest = ""] = /^\/([^/]*)\/?(.*)$/.exec(new URL(request.url!, "http://host").pathname)!;
    if (kind === "result") {
      let body = "";
      for await (const chunk of request) body += chunk;
      answer(JSON.parse(body));
    }
    const file = { modules: join(modules, rest), models: join(models, rest) }[kind as string];
    const content = file ? await readFile(file).catch(() => undefined) : kind === "" ? PAGE : undefined;
    response.writeHead(content === undefined ? 404 : 200, {
      "content-type": file ? (TYPES[extname(file)] ?? "application/octet-stream") : "text/html",
    });
    response.end(content);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${profile}`];
  const browser = spawn(chromium!, [...flags, `http://127.0.0.1:${port}/`], { stdio: "ignore" });
  try {
    return await answered;
  } finally {
    const gone = new Promise((resolve) => browser.once("exit", resolve));
    browser.kill();
    await gone;
    server.close();
    server.closeAllConnections();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

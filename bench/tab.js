// Tokens a second of the bundled base's training in Node, in a tab's WebAssembly and on a tab's WebGPU, in turns on this machine:
//   node bench/tab.js [STEPS] [--gpu]      --gpu: the GPU that chromium finds, instead of the one in software that comes with it
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import process from "node:process";
import { chromium } from "playwright-core";
import { loraFinetune } from "../dist/node/index.js";

const root = join(import.meta.dirname, "..");
const steps = Number(process.argv[2] ?? 12);
const software = process.argv.includes("--gpu") ? [] : ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const work = mkdtempSync(join(tmpdir(), "lowrank-tab-bench-"));
const options = {
  data: { train: "rows.jsonl", maxSeqLen: 128 },
  lora: { r: 8, targetModules: "all-linear" },
  batchSize: 16,
  maxSteps: steps,
};
const page = `<!doctype html><title>bench</title>
<script type="module">globalThis.lowrank = await import("/dist/browser/index.js"); document.title = "ready";</script>`;
const types = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", "": "text/html" };
const server = createServer(({ url }, response) => {
  response.setHeader("content-type", types[extname(url)] ?? "application/octet-stream");
  response.setHeader("cross-origin-opener-policy", "same-origin");
  response.setHeader("cross-origin-embedder-policy", "require-corp");
  const file = url.replace(/^\/ort\//, "/node_modules/onnxruntime-web/dist/");
  response.end(url === "/" ? page : url === "/favicon.ico" ? "" : readFileSync(join(root, file)));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const browser = await chromium.launch({
  executablePath: process.env.LOWRANK_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage", ...software],
});
try {
  const rows = [["Node", await inNode()]];
  const tab = await openTab();
  for (const device of ["cpu", "webgpu"]) rows.push([`tab, ${device}`, await tab.evaluate(inTab, { options, device })]);
  const adapter = await tab.evaluate(async () => {
    const { vendor, architecture, isFallbackAdapter } = (await navigator.gpu.requestAdapter()).info;
    return `${vendor} ${architecture}${isFallbackAdapter ? ", in software" : ""}`;
  });
  console.log(
    `${steps} steps, the first left out; WebGPU adapter: ${adapter}\n\n| | tokens/s | loss of the last step |\n| --- | --- | --- |`,
  );
  for (const [name, { tokens, seconds, loss }] of rows)
    console.log(`| ${name} | ${(tokens / seconds).toFixed(0)} | ${loss.toFixed(6)} |`);
} finally {
  await browser.close();
  server.close();
  rmSync(work, { recursive: true, force: true });
}

async function inNode() {
  const model = join(root, "models/tiny");
  const data = { ...options.data, train: join(model, "data/train.jsonl") };
  const found = { tokens: 0, seconds: 0, loss: 0 };
  for await (const event of loraFinetune({
    ...options,
    data,
    base: model,
    device: "cpu",
    outputDir: join(work, "run"),
  }))
    if (event.type === "step") count(found, event.metrics);
  return found;
}

/** Tokens and seconds of all steps but the first, which compiles. */
function count(found, { step, loss, tokensPerSecond, tokens }) {
  found.loss = loss;
  if (step === 1) return;
  found.tokens += tokens;
  found.seconds += tokens / tokensPerSecond;
}

async function openTab() {
  const tab = await browser.newPage();
  tab.setDefaultTimeout(600_000);
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForFunction(() => document.title === "ready");
  await tab.evaluate(`globalThis.count = ${count}`);
  await tab.evaluate(async () => {
    globalThis.api = await lowrank.createBrowserApi({ storage: "memory", engine: "/ort/" });
    const files = [
      "config.json",
      "tokenizer.json",
      "tokenizer_config.json",
      "generation_config.json",
      "model.safetensors",
    ];
    for (const name of files) await api.download(`/models/tiny/${name}`, `tiny/${name}`);
    await api.download("/models/tiny/data/train.jsonl", "rows.jsonl");
  });
  return tab;
}

/** Runs in the tab. */
async function inTab({ options, device }) {
  const found = { tokens: 0, seconds: 0, loss: 0 };
  for await (const event of api.loraFinetune({ ...options, base: "tiny", device, outputDir: `runs/${device}` }))
    if (event.type === "step") count(found, event.metrics);
  return found;
}

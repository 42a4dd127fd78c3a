import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type * as lowrankBrowser from "../../src/browser/index.js";
import { loraFinetune, type TrainOptions } from "../../src/node/index.js";
import { firstRows, TINY } from "../tiny-run.js";
import { openChromium, openPage, ROOT, type Site, serveSite, whyNoGpu } from "./chromium.js";

declare global {
  var lowrank: typeof lowrankBrowser;
  var api: lowrankBrowser.BrowserApi;
}

const reason = await whyNoGpu();
if (reason) console.log(`training on WebGPU in a tab is not tried: ${reason}`);

const PAGE = `<!doctype html><title>lowrank</title>
<script type="importmap">{"imports": { "lowrank/browser": "/dist/browser/index.js" }}</script>
<script type="module">globalThis.lowrank = await import("lowrank/browser"); document.title = "ready";</script>`;

/** Before the package's worker: a GPU whose traffic is counted, and that goes away when the page says so. */
const WATCHED = `
const page = new BroadcastChannel("gpu");
let crossed = { up: 0, down: 0 };
const { requestDevice } = GPUAdapter.prototype;
GPUAdapter.prototype.requestDevice = async function (...args) {
  const device = await requestDevice.apply(this, args);
  page.onmessage = ({ data }) => {
    if (data === "lose") { device.destroy(); page.postMessage("lost"); }
    if (data === "count") { page.postMessage(crossed); crossed = { up: 0, down: 0 }; }
  };
  return device;
};
const { writeBuffer } = GPUQueue.prototype;
GPUQueue.prototype.writeBuffer = function (buffer, at, data, ...rest) {
  crossed.up += rest[1] ?? data.byteLength;
  return writeBuffer.call(this, buffer, at, data, ...rest);
};
const { createBuffer } = GPUDevice.prototype;
GPUDevice.prototype.createBuffer = function (what) {
  if (what.mappedAtCreation) crossed.up += what.size;
  return createBuffer.call(this, what);
};
const { mapAsync } = GPUBuffer.prototype;
GPUBuffer.prototype.mapAsync = function (...args) {
  crossed.down += this.size;
  return mapAsync.apply(this, args);
};`;

const NO_GPU = "GPU.prototype.requestAdapter = async () => null;";

const SMALL = 'Object.defineProperty(GPUSupportedLimits.prototype, "maxBufferSize", { get: () => 50_000 });';

const OPTIONS = {
  base: "tiny",
  device: "webgpu",
  data: { train: "rows.jsonl", maxSeqLen: 96 },
  lora: { r: 4, targetModules: "all-linear" },
  optimizer: { lr: 5e-3 },
  batchSize: 4,
  maxSteps: 3,
  saveEvery: 2,
} satisfies TrainOptions;

const MODEL = [
  "config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "generation_config.json",
  "model.safetensors",
] as const;

describe.skipIf(reason)("a tab's GPU", () => {
  let browser: Browser;
  let page: Page;
  let site: Site;
  let folder: string;
  /** Losses of the same run in Node. */
  let here: readonly number[];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "lowrank-webgpu-"));
    for (const inner of ["data", "workers"]) mkdirSync(join(folder, inner));
    firstRows(join(folder, "data/rows.jsonl"), 32);
    for (const [name, text] of Object.entries({ watched: WATCHED, "no-gpu": NO_GPU, small: SMALL })) {
      writeFileSync(join(folder, `workers/${name}-before.js`), text);
      writeFileSync(
        join(folder, `workers/${name}.js`),
        `import "./${name}-before.js"; import "/dist/browser/worker.js";`,
      );
    }
    site = await serveSite({
      "/page": PAGE,
      "/dist/": join(ROOT, "dist"),
      "/onnxruntime-web/": join(ROOT, "node_modules/onnxruntime-web/dist"),
      "/tiny/": TINY,
      "/data/": join(folder, "data"),
      "/workers/": join(folder, "workers"),
    });
    browser = await openChromium({ gpu: true });
    ({ page } = await openPage(browser, `${site.url}/page`));
    await page.waitForFunction(() => document.title === "ready");
    await page.evaluate(async (model) => {
      globalThis.api = await lowrank.createBrowserApi({ engine: "/onnxruntime-web/", worker: "/workers/watched.js" });
      for (const name of model) await api.download(`/tiny/${name}`, `tiny/${name}`);
      await api.download("/data/rows.jsonl", "rows.jsonl");
    }, MODEL);
    here = await trainHere({ outputDir: "node" });
  });
  afterAll(async () => {
    await browser?.close();
    site?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Trains in the tab: losses, bytes that crossed in each step, and how it failed; with `loseAt`, the GPU is lost after that step. */
  const train = (more: Partial<TrainOptions>, { resume = false, loseAt = 0 } = {}) =>
    page.evaluate(
      async ({ options, resume, loseAt }) => {
        const worker = new BroadcastChannel("gpu");
        const ask = (what: "count" | "lose") =>
          new Promise<{ up: number; down: number }>((resolve) => {
            worker.onmessage = ({ data }) => resolve(data);
            worker.postMessage(what);
          });
        const losses: number[] = [];
        const crossed: { up: number; down: number }[] = [];
        let failure = "";
        try {
          for await (const event of api.loraFinetune(options, { resume })) {
            if (event.type !== "step") continue;
            losses.push(event.metrics.loss);
            crossed.push(await ask("count"));
            if (event.metrics.step === loseAt) await ask("lose");
          }
        } catch (error) {
          failure = (error as Error).message;
        }
        worker.close();
        return { losses, crossed, failure };
      },
      { options: { ...OPTIONS, ...more }, resume, loseAt },
    );

  const expectNear = (found: readonly number[], expected: readonly number[]) => {
    expect(found.length).toBe(expected.length);
    const furthest = found.map((loss, i) => Math.abs(loss / expected[i]! - 1)).reduce((a, b) => Math.max(a, b));
    expect(furthest).toBeLessThan(1e-5);
  };

  /** The same run in Node. */
  async function trainHere({ outputDir, ...more }: Partial<TrainOptions> & { outputDir: string }): Promise<number[]> {
    const losses: number[] = [];
    const { device: _, ...rest } = OPTIONS;
    const own = { base: TINY, data: { ...OPTIONS.data, train: join(folder, "data/rows.jsonl") }, threads: 1 };
    for await (const event of loraFinetune({ ...rest, ...own, ...more, outputDir: join(folder, outputDir) }))
      if (event.type === "step") losses.push(event.metrics.loss);
    return losses;
  }

  it.each(["f16", "nf4"] as const)("a base that is held as %s trains as in Node", async (basePrecision) => {
    const more = { basePrecision, maxSteps: 2 };
    const held = await train({ ...more, outputDir: `runs/${basePrecision}` });
    expect(held.failure).toBe("");
    expectNear(held.losses, await trainHere({ ...more, outputDir: basePrecision }));
    expect(held.losses[0]).not.toBe(here[0]);
  });

  it("trains as Node does, and of all that a run holds only what is new crosses; a lost GPU leaves a checkpoint to go on from", async () => {
    const cut = await train({ outputDir: "runs/cut" }, { loseAt: 3 });
    expectNear(cut.losses, here);
    const { up, down } = cut.crossed[1]!; // bytes of a step: the base is 2.5 MB, the adapter 112 kB
    expect(up).toBeLessThan(150_000);
    expect(down).toBeLessThan(2000);
    expect(cut.failure).toMatch(
      /^device: the GPU was lost \(destroyed.*the checkpoints that it saved are whole: start it again/,
    );
    expect(await page.evaluate(() => api.unfinished())).toMatchObject([{ outputDir: "runs/cut", step: 2 }]);
    const rest = await train({ outputDir: "runs/cut" }, { resume: true });
    expect(rest.failure).toBe("");
    expectNear(rest.losses, here.slice(2));
  });

  it("says what is missing: no GPU, a tensor that fits no buffer, a run that fits no memory", async () => {
    const found = await page.evaluate(async (options) => {
      const failures: unknown[] = [];
      for (const more of [{ worker: "/workers/no-gpu.js" }, { worker: "/workers/small.js" }, { memoryLimit: 5e6 }]) {
        const other = await lowrank.createBrowserApi({ engine: "/onnxruntime-web/", ...more });
        const run = other.loraFinetune({ ...options, outputDir: "runs/other" });
        failures.push(await run.result().catch(({ code, message }) => [code, message]));
      }
      return failures;
    }, OPTIONS);
    expect(found).toEqual([
      ["device_unavailable", expect.stringMatching(/^device: 'webgpu' cannot be had here: .*use device: cpu/)],
      [expect.anything(), expect.stringMatching(/^device: a tensor of .* MB fits no buffer of this GPU/)],
      ["insufficient_memory", expect.stringContaining("it was not started")],
    ]);
  });
});

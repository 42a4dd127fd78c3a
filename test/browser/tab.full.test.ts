import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type * as lowrankBrowser from "../../src/browser/index.js";
import { loraFinetune, type TrainOptions } from "../../src/node/index.js";
import { firstRows, TINY } from "../tiny-run.js";
import { noChromium, openChromium, openPage, ROOT, type Site, serveSite } from "./chromium.js";
import { readInPeft, tensorsIn } from "./in-peft.js";

declare global {
  var lowrank: typeof lowrankBrowser;
  var api: lowrankBrowser.BrowserApi;
}

if (noChromium) console.log(`training in a tab is not tried: ${noChromium}`);

const PAGE = `<!doctype html><title>lowrank</title>
<script type="importmap">{"imports": {
  "lowrank/browser": "/dist/browser/index.js",
  "onnxruntime-web": "/onnxruntime-web/ort.wasm.min.mjs"
}}</script>
<input type="file" id="drop" multiple>
<script type="module">globalThis.lowrank = await import("lowrank/browser"); document.title = "ready";</script>`;

const OPTIONS = {
  base: "tiny",
  data: { train: "rows.jsonl", maxSeqLen: 96 },
  lora: { r: 4, dropout: 0.1, targetModules: "all-linear" },
  optimizer: { lr: 5e-3 },
  batchSize: 4,
  maxSteps: 6,
  saveEvery: 3,
} satisfies TrainOptions;

describe.skipIf(noChromium)("a tab", () => {
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let site: Site;
  let plain: Site;
  let folder: string;
  /** Losses of the run that was never stopped, in the tab. */
  let whole: readonly number[];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "lowrank-tab-"));
    mkdirSync(join(folder, "data"));
    firstRows(join(folder, "data", "rows.jsonl"), 32);
    const places = {
      "/page": PAGE,
      "/dist/": join(ROOT, "dist"),
      "/onnxruntime-web/": join(ROOT, "node_modules/onnxruntime-web/dist"),
      "/tiny/": TINY,
      "/data/": join(folder, "data"),
    };
    [site, plain] = [await serveSite(places), await serveSite(places, { isolated: false })];
    browser = await openChromium();
    context = await browser.newContext();
    page = await open(site.url);
  });
  afterAll(async () => {
    await browser?.close();
    site?.close();
    plain?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A page with an API, and the tiny base and its rows in storage. */
  async function open(url: string): Promise<Page> {
    const { page } = await openPage(context, `${url}/page`);
    await page.waitForFunction(() => document.title === "ready");
    await page.evaluate(async () => {
      globalThis.api = await lowrank.createBrowserApi();
      for (const name of [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "model.safetensors",
      ])
        if (!(await api.files.stat(`tiny/${name}`))) await api.download(`/tiny/${name}`, `tiny/${name}`);
      await api.download("/data/rows.jsonl", "rows.jsonl");
    });
    return page;
  }

  /** Trains in the tab; with `stopAt`, the run is stopped after that step. */
  const train = (options: TrainOptions, more: { resume?: boolean; stopAt?: number } = {}, on = page) =>
    on.evaluate(
      async ({ options, resume, stopAt }) => {
        const stop = new AbortController();
        const losses: number[] = [];
        const notes: string[] = [];
        const run = api.loraFinetune(options, { resume: resume ?? false, signal: stop.signal });
        for await (const event of run) {
          if (event.type === "note") notes.push(event.message);
          if (event.type !== "step") continue;
          losses.push(event.metrics.loss);
          if (event.metrics.step === stopAt) stop.abort();
        }
        return { losses, notes };
      },
      { options, ...more },
    );

  /** The same in Node, with the same names for base and rows. */
  async function trainHere(options: TrainOptions, { resume = false, stopAt = 0 } = {}): Promise<number[]> {
    const stop = new AbortController();
    const losses: number[] = [];
    const { outputDir, ...rest } = options;
    const run = loraFinetune(
      {
        ...rest,
        base: TINY,
        data: { ...options.data, train: join(folder, "data/rows.jsonl") },
        outputDir: join(folder, outputDir!),
        threads: 1,
      },
      { resume, signal: stop.signal },
    );
    for await (const event of run) {
      if (event.type !== "step") continue;
      losses.push(event.metrics.loss);
      if (event.metrics.step === stopAt) stop.abort();
    }
    return losses;
  }

  /** A folder of the tab's storage, copied to this disk, or back. */
  async function fetchFolder(name: string, to: string): Promise<void> {
    const files = await page.evaluate(async (name) => {
      const found: [string, number[]][] = [];
      const visit = async (path: string): Promise<void> => {
        for (const inner of await api.files.list(path)) {
          const at = `${path}/${inner}`;
          if ((await api.files.stat(at))!.kind === "folder") await visit(at);
          else found.push([at.slice(name.length + 1), Array.from(await api.files.read(at))]);
        }
      };
      await visit(name);
      return found;
    }, name);
    for (const [path, bytes] of files) {
      mkdirSync(dirname(join(to, path)), { recursive: true });
      writeFileSync(join(to, path), Uint8Array.from(bytes));
    }
  }
  async function sendFolder(from: string, name: string): Promise<void> {
    for (const path of readdirSync(from, { recursive: true, encoding: "utf8" })) {
      if (!statSync(join(from, path)).isFile()) continue;
      await page.evaluate(
        async ({ path, bytes }) => {
          await api.files.makeFolder(path.replace(/\/[^/]*$/, ""));
          await api.files.write(path, Uint8Array.from(bytes));
        },
        { path: `${name}/${path}`, bytes: Array.from(readFileSync(join(from, path))) },
      );
    }
  }

  const expectNear = (found: readonly number[], expected: readonly number[]) => {
    expect(found.length).toBe(expected.length);
    const furthest = found.map((loss, i) => Math.abs(loss / expected[i]! - 1)).reduce((a, b) => Math.max(a, b));
    expect(furthest).toBeLessThan(1e-5);
  };

  it("trains on threads as Node does; its checkpoint goes on in Node and Node's in it; the adapter is PEFT's", async () => {
    const here = await trainHere({ ...OPTIONS, outputDir: "node" });
    const tab = await train({ ...OPTIONS, outputDir: "runs/tab" });
    whole = tab.losses;
    expect(tab.notes.filter((line) => line.includes("isolated"))).toEqual([]);
    expectNear(tab.losses, here);
    expect(new Set(here).size).toBe(6);

    await train({ ...OPTIONS, outputDir: "runs/half" }, { stopAt: 3 });
    await fetchFolder("runs/half", join(folder, "half"));
    expectNear(await trainHere({ ...OPTIONS, outputDir: "half" }, { resume: true }), here.slice(3));
    await trainHere({ ...OPTIONS, outputDir: "other-half" }, { stopAt: 3 });
    await sendFolder(join(folder, "other-half"), "runs/other-half");
    expectNear((await train({ ...OPTIONS, outputDir: "runs/other-half" }, { resume: true })).losses, here.slice(3));

    await fetchFolder("runs/tab/adapter", join(folder, "adapter"));
    const names = readdirSync(join(folder, "node/adapter")).sort();
    expect(readdirSync(join(folder, "adapter")).sort()).toEqual(names);
    const config = (path: string) => JSON.parse(readFileSync(join(folder, path, "adapter_config.json"), "utf8"));
    expect({ ...config("adapter"), base_model_name_or_path: "" }).toEqual({
      ...config("node/adapter"),
      base_model_name_or_path: "",
    });
    const written = tensorsIn(join(folder, "adapter/adapter_model.safetensors"));
    expect(Object.keys(written)).toHaveLength(
      2 * 7 * JSON.parse(readFileSync(join(TINY, "config.json"), "utf8")).num_hidden_layers,
    );
    const read = readInPeft(TINY, join(folder, "adapter"));
    if (read) expect(read).toEqual(written);
  });

  it.each(["f16", "int8", "nf4"] as const)("a base that is held as %s trains as in Node", async (basePrecision) => {
    const options = { ...OPTIONS, basePrecision, maxSteps: 2 };
    const here = await trainHere({ ...options, outputDir: `node-${basePrecision}` });
    expectNear((await train({ ...options, outputDir: `runs/${basePrecision}` })).losses, here);
    expect(here[0]).not.toBe(whole[0]);
  });

  it("a closed tab's run is offered at the next visit and ends as one that was never stopped, bit for bit", async () => {
    const second = await open(site.url);
    const cut = second.evaluate(
      async (options) => {
        for await (const event of api.loraFinetune(options)) {
          if (event.type !== "step" || event.metrics.step < 5) continue;
          document.title = "step 5";
          await new Promise(() => {});
        }
      },
      { ...OPTIONS, outputDir: "runs/cut" },
    );
    cut.catch(() => {}); // its tab is closed
    await second.waitForFunction(() => document.title === "step 5");
    expect((await page.evaluate(() => api.unfinished())).map(({ outputDir }) => outputDir)).toEqual(["runs/half"]);
    await second.close();
    const found = await page.evaluate(async () => {
      for (;;) {
        const found = (await api.unfinished()).find(({ outputDir }) => outputDir === "runs/cut");
        if (found) return found;
        await new Promise((wait) => setTimeout(wait, 100)); // until the browser has given up the tab's lock
      }
    });
    expect(found.step).toBe(3);
    const rest = await train(found.config as TrainOptions, { resume: true });
    expect(rest.losses).toEqual(whole.slice(3));
    const [a, b] = await page.evaluate(() =>
      Promise.all(["tab", "cut"].map((run) => api.files.sha256(`runs/${run}/adapter/adapter_model.safetensors`))),
    );
    expect(b).toBe(a);
  });

  it("a full quota is an error, and the checkpoint before it is whole", async () => {
    const client = await context.newCDPSession(page);
    const quota = (quotaSize?: number) =>
      client.send("Storage.overrideQuotaForOrigin", { origin: site.url, ...(quotaSize ? { quotaSize } : {}) });
    const { usage } = await page.evaluate(() => navigator.storage.estimate());
    await quota(usage!);
    const options = { ...OPTIONS, outputDir: "runs/half" };
    const error = await train(options, { resume: true }).catch((error: Error) => error.message);
    await quota();
    expect(error).toContain("the browser's storage for this site is full");
    expect((await train(options, { resume: true })).losses).toEqual(whole.slice(3));
  });

  it("a run that cannot fit is refused before it starts; a device that no browser has, too", async () => {
    const refused = await page.evaluate(
      async (options) => {
        const small = await lowrank.createBrowserApi({ memoryLimit: 5e6 });
        const one = await small
          .loraFinetune(options)
          .result()
          .catch((error) => [error.code, error.message]);
        const other = await api
          .loraFinetune({ ...options, device: "cuda" })
          .result()
          .catch((error) => [error.code, error.message]);
        return { one, other };
      },
      { ...OPTIONS, outputDir: "runs/large" },
    );
    expect(refused.one).toEqual(["insufficient_memory", expect.stringContaining("it was not started")]);
    expect(refused.other).toEqual(["device_unavailable", expect.stringContaining("'cuda' cannot be had in a browser")]);
  });

  it("a page that is not isolated says so and trains on one thread; answers come from a loaded model", async () => {
    const alone = await open(plain.url);
    const { notes, losses } = await train({ ...OPTIONS, maxSteps: 1, outputDir: "runs/alone" }, {}, alone);
    expect(notes[0]).toContain("this page is not cross-origin isolated, so the engine runs on one thread");
    expectNear(losses, await trainHere({ ...OPTIONS, maxSteps: 1, outputDir: "alone" }));
    const text = await alone.evaluate(async () => {
      const model = await api.loadModel("tiny");
      const adapter = await lowrank.applyAdapter(model, "runs/alone");
      const { text } = await lowrank
        .generate(model, { prompt: "Once" }, { maxNewTokens: 6, adapter, temperature: 0 })
        .result();
      await model.dispose();
      return text;
    });
    expect(text.length).toBeGreaterThan(0);
    await alone.close();
  });
});

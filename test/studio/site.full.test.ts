import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, describe, expect, it } from "vitest";
import { ensureSite } from "../../scripts/studio.js";
import { openFirst, QUESTION, walk } from "../../scripts/studio-walk.js";
import { exportAdapter } from "../../src/node/index.js";
import { noChromium, openChromium, serveSite } from "../browser/chromium.js";
import { createServers } from "../fake-hub.js";
import { TINY } from "../tiny-run.js";
import { AXE, faultsOf } from "./axe.js";

if (noChromium) console.log(`the studio's static site is not tried: ${noChromium}`);

const work = mkdtempSync(join(tmpdir(), "lowrank-site-"));
const servers = createServers();
afterAll(async () => {
  await servers.close();
  rmSync(work, { recursive: true, force: true });
});

const ONE_THREAD = "it trains on one thread";
const answers = (page: Page) => page.locator(".speaker .answer").allInnerTexts();

describe.skipIf(noChromium)("the static site, from a server that knows nothing of it", () => {
  it("trains in the tab, compares and counts a suite, downloads a model, deletes what is stored, saves the adapter, and works again without a network", async () => {
    const models = await serveModel();
    const site = await serveSite({ "/demo/": await ensureSite() }, { isolated: false });
    const browser = await openChromium();
    const said: string[] = [];
    const faults: string[] = [];
    try {
      const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, reducedMotion: "reduce" });
      await page.addInitScript({ path: AXE });
      page.on("console", (message) => said.push(message.text()));
      page.on("pageerror", (error) => said.push(String(error)));
      page.context().on("request", (request) => {
        const known = [site.url, "blob:", models].some((start) => request.url().startsWith(start));
        if (!known) said.push(request.url());
      });
      const address = `${site.url}/demo/`;
      const visit = async (name: string) => {
        if (name === "model") await looksAtModels(page, models);
        if (name === "run") await savesTheAdapter(page);
        if (name === "runs") await deletesTheModel(page);
        if (name === "model" || name === "run" || name === "runs") faults.push(...(await faultsOf(page, name)));
        if (name !== "compare") return;
        expectLearned(await answers(page));
        await countsASuite(page);
      };
      const first = await walk(page, { address, folder: join(work, "dropped"), visit });
      await page.waitForFunction(() => navigator.serviceWorker.controller);
      expect(await installErrors(page)).toEqual([]);

      site.close();
      const again = await openFirst(page, `${address}?again`);
      console.log(`the site's first screen: after ${Math.round(first)} ms, without a network ${Math.round(again)} ms`);
      expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
      expect(await page.getByText(ONE_THREAD).count()).toBe(0);
      await page.getByRole("link", { name: "Compare" }).click();
      await page.getByLabel("Asked of models/tiny").fill(QUESTION);
      await page.getByRole("button", { name: "Ask", exact: true }).click();
      await page.getByText("a second").nth(1).waitFor();
      expectLearned(await answers(page));
    } finally {
      await browser.close();
      site.close();
    }
    expect(said).toEqual([]);
    expect(faults).toEqual([]);
  }, 240_000);
});

/** What the page lacks is said; a folder that is chosen is a model to choose. */
async function looksAtModels(page: Page, models: string): Promise<void> {
  expect(await page.getByText(ONE_THREAD).count()).toBe(1);
  await downloads(page, models);
  await page.getByLabel("or a folder").setInputFiles(TINY);
  await page.getByRole("radio", { name: /dropped\/tiny/ }).waitFor();
  await page.getByRole("heading", { name: "dropped/tiny" }).waitFor();
  await page
    .getByLabel(/models\/tiny/)
    .first()
    .check();
  await page.getByText("recommended").waitFor();
}

/** A server of another origin with a GGUF file, which it sends in two halves; its address. */
async function serveModel(): Promise<string> {
  const output = join(work, "small.gguf");
  await exportAdapter({ base: TINY, to: "gguf", output, run: false });
  const bytes = readFileSync(output);
  return servers.serve(({ url }, response) => {
    response.setHeader("access-control-allow-origin", "*");
    if (url !== "/files/small.gguf") return void response.writeHead(404).end();
    response.writeHead(200, { "content-length": bytes.length });
    response.write(bytes.subarray(0, bytes.length / 2));
    setTimeout(() => response.end(bytes.subarray(bytes.length / 2)), 1500);
  });
}

/** A model that is fetched by its address, with its progress, and is a model to choose then. */
async function downloads(page: Page, models: string): Promise<void> {
  const field = page.getByLabel("Or download a GGUF file by its address");
  const button = page.getByRole("button", { name: "Download", exact: true });
  await field.fill("http://models.example.org/small.gguf");
  await button.click();
  await page.getByText("expected the https address of a GGUF file").waitFor();
  await field.fill(`${models}/files/small.gguf`);
  await button.click();
  await page.getByRole("progressbar", { name: /^\d.* of \d/ }).waitFor();
  await page.getByRole("radio", { name: /downloaded\/small.gguf/ }).waitFor();
  await page.getByRole("heading", { name: "downloaded/small.gguf" }).waitFor();
  await page.getByText("recommended").waitFor();
}

/** A suite's figures, and the answers behind one of them. */
async function countsASuite(page: Page): Promise<void> {
  const file = join(work, "suite.yaml");
  writeFileSync(
    file,
    `name: Ada\nmax_new_tokens: 40\nfacts:\n  - ask: ${QUESTION}\n    answer: by the sea\nunanswerable:\n  - Who is Ben?\n`,
  );
  const card = page.getByRole("region", { name: "A suite of questions" });
  await card.getByLabel("or choose one").setInputFiles(file);
  await card.getByRole("button", { name: "Ask all" }).click();
  const facts = page.getByRole("region", { name: "Suite Ada" }).getByRole("row", { name: /facts/ }).first();
  await facts.waitFor();
  expect(await facts.getByRole("cell").allInnerTexts()).toEqual(["0 % (0/1)", "100 % (1/1)", "Rows behind it"]);
  await facts.getByRole("button", { name: "Rows behind it" }).click();
  const [row] = await page
    .getByRole("region", { name: "Rows behind the figure" })
    .getByRole("row", { name: QUESTION })
    .all();
  expect(await row!.innerText()).toContain("by the sea");
}

/** What is stored is there with its size, and is gone from the browser's storage when it was deleted, asked twice. */
async function deletesTheModel(page: Page): Promise<void> {
  const table = page.getByRole("region", { name: "Table of stored files" });
  await table.getByRole("row", { name: /^facts.csv rows \d+ B/ }).waitFor();
  await table.getByRole("row", { name: /^suite.yaml rows/ }).waitFor();
  const model = table.getByRole("row", { name: /^small.gguf model [\d.]+ MB/ });
  expect(await page.getByText(/This browser stores .* of at most/).count()).toBe(1);
  expect(await storedModels(page)).toEqual(["small.gguf"]);
  await model.getByRole("button", { name: "Delete small.gguf" }).click();
  await model.getByRole("button", { name: /^Delete [\d.]+ MB/ }).click();
  await model.waitFor({ state: "detached" });
  expect(await storedModels(page)).toEqual([]);
}

/** Names in the browser's storage itself. */
const storedModels = (page: Page): Promise<string[]> =>
  page.evaluate(async () => {
    const names: string[] = [];
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("downloaded");
    for await (const name of folder.keys()) names.push(name);
    return names;
  });

async function savesTheAdapter(page: Page): Promise<void> {
  expect(await page.getByText("A page has no address").count()).toBe(1);
  await page.getByRole("button", { name: "Save the adapter (PEFT)" }).click();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "adapter_config.json" }).click(),
  ]);
  const saved = JSON.parse(readFileSync(await download.path(), "utf8"));
  expect(saved).toMatchObject({ peft_type: "LORA", r: 16 });
}

function expectLearned([base, tuned]: readonly string[]): void {
  expect(tuned).toContain("by the sea");
  expect(base).not.toContain("by the sea");
}

/** Why Chromium would not install the page; that a private window installs nothing is no fault of it. */
async function installErrors(page: Page): Promise<string[]> {
  const client = await page.context().newCDPSession(page);
  const { installabilityErrors } = await client.send("Page.getInstallabilityErrors");
  return installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== "in-incognito");
}

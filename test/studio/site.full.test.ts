import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, describe, expect, it } from "vitest";
import { ensureSite } from "../../scripts/studio.js";
import { openFirst, QUESTION, walk } from "../../scripts/studio-walk.js";
import { noChromium, openChromium, serveSite } from "../browser/chromium.js";
import { TINY } from "../tiny-run.js";
import { AXE, faultsOf } from "./axe.js";

if (noChromium) console.log(`the studio's static site is not tried: ${noChromium}`);

const work = mkdtempSync(join(tmpdir(), "lowrank-site-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const ONE_THREAD = "it trains on one thread";
const answers = (page: Page) => page.locator(".speaker .answer").allInnerTexts();

describe.skipIf(noChromium)("the static site, from a server that knows nothing of it", () => {
  it("trains in the tab and compares, says what it cannot do, saves the adapter, and works again without a network", async () => {
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
        if (!request.url().startsWith(site.url) && !request.url().startsWith("blob:")) said.push(request.url());
      });
      const address = `${site.url}/demo/`;
      const visit = async (name: string) => {
        if (name === "model") await looksAtModels(page);
        if (name === "run") await savesTheAdapter(page);
        if (name === "model" || name === "run") faults.push(...(await faultsOf(page, name)));
        if (name === "compare") expectLearned(await answers(page));
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
async function looksAtModels(page: Page): Promise<void> {
  expect(await page.getByText(ONE_THREAD).count()).toBe(1);
  expect(await page.getByText("This page reaches no other site").count()).toBe(1);
  await page.getByLabel("or a folder").setInputFiles(TINY);
  await page.getByRole("radio", { name: /dropped\/tiny/ }).waitFor();
  await page.getByRole("heading", { name: "dropped/tiny" }).waitFor();
  await page
    .getByLabel(/models\/tiny/)
    .first()
    .check();
  await page.getByText("recommended").waitFor();
}

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

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openBrowser, openStudio, walk, whyNoBrowser } from "../../scripts/studio-walk.js";
import { AXE, faultsOf } from "./axe.js";

const reason = whyNoBrowser();
if (reason) console.log(`the studio's page is not tried: ${reason}`);

const work = mkdtempSync(join(tmpdir(), "lowrank-page-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe.skipIf(reason)("the page, from a dropped file to a comparison and an export", () => {
  it("does the whole way without an error, a foreign request or a fault that axe finds, light, dark and on a phone", async () => {
    const studio = await openStudio(work);
    const browser = await openBrowser();
    const said: string[] = [];
    const faults: string[] = [];
    let answers: string[] = [];
    try {
      const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, reducedMotion: "reduce" });
      await page.addInitScript({ path: AXE });
      page.on("console", (message) => said.push(message.text()));
      page.on("pageerror", (error) => said.push(String(error)));
      page.on("request", (request) => {
        if (!request.url().startsWith(new URL(studio.address).origin)) said.push(`asked for ${request.url()}`);
      });
      const visit = async (name: string) => {
        faults.push(...(await faultsOf(page, name)));
        if (name === "data") {
          expect(await page.getByText("<b>mint</b>").count()).toBeGreaterThan(0);
          expect(await page.locator("main b").count()).toBe(0);
          expect(await page.getByText("1 row is there more than once: 3 = 6").count()).toBe(1);
        }
        if (name === "compare") answers = await page.locator(".speaker .answer").allInnerTexts();
      };
      const shownAfter = await walk(page, { address: studio.address, folder: join(work, "dropped"), visit });
      console.log(`the studio's first screen was there after ${Math.round(shownAfter)} ms`);
      await page.getByRole("link", { name: "facts", exact: true }).click();
      await page.getByRole("button", { name: "Serve as OpenAI's API" }).click();
      const snippet = page.getByText("client.chat.completions.create");
      await snippet.waitFor();
      const [, url] = /baseURL: "([^"]+)"/.exec(await snippet.innerText())!;
      expect((await (await fetch(`${url}/models`)).json()).data.map(({ id }: { id: string }) => id)).toContain("facts");
      expect((await openWithout(browser, studio.address)).includes("not let in yet")).toBe(true);
    } finally {
      await browser.close();
      expect(await studio.close()).toBe(0);
    }
    expect(answers[1]).toContain("by the sea");
    expect(answers[0]).not.toContain("by the sea");
    expect(said).toEqual([]);
    expect(faults).toEqual([]);
  }, 240_000);
});

/** What a browser sees that comes by an address whose token was used. */
async function openWithout(browser: Awaited<ReturnType<typeof openBrowser>>, address: string): Promise<string> {
  const page = await (await browser.newContext()).newPage();
  await page.goto(address);
  return page.locator("main").innerText();
}

import { createRequire } from "node:module";
import type { Page } from "playwright-core";

/** The script that a page has to have for `faultsOf`: `page.addInitScript({ path: AXE })`. */
export const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** What axe finds on a screen in either theme, and whether it is wider than a phone. */
export async function faultsOf(page: Page, name: string): Promise<string[]> {
  const found: string[] = [];
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    const violations: { id: string; nodes: { target: unknown[]; failureSummary?: string }[] }[] = await page.evaluate(
      "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => ({ id, nodes: nodes.map(({ target, failureSummary }) => ({ target, failureSummary })) })))",
    );
    for (const { id, nodes } of violations)
      found.push(`${name}, ${colorScheme}: ${id}: ${JSON.stringify(nodes.slice(0, 2))}`);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 375, height: 700 });
  const fits = page.waitForFunction("document.documentElement.scrollWidth <= 375", undefined, { timeout: 3000 });
  await fits.catch(() => undefined); // charts follow the width a little later
  const width = await page.evaluate<number>("document.documentElement.scrollWidth");
  if (width > 375) found.push(`${name}: ${width} pixels wide on a phone`);
  await page.setViewportSize({ width: 1200, height: 900 });
  return found;
}

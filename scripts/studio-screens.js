// Pictures of every screen of the studio, light and dark, into docs/studio/: node scripts/studio-screens.js [FOLDER]
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openBrowser, openStudio, walk, whyNoBrowser } from "./studio-walk.js";

const into = process.argv[2] ?? fileURLToPath(new URL("../docs/studio", import.meta.url));
const reason = whyNoBrowser();
if (reason) {
  console.log(`no pictures: ${reason}`);
  process.exit(77);
}
const work = mkdtempSync(join(tmpdir(), "lowrank-screens-"));
const studio = await openStudio(work);
const browser = await openBrowser();
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 640 }, reducedMotion: "reduce" });
  mkdirSync(into, { recursive: true });
  await walk(page, {
    address: studio.address,
    folder: join(work, "dropped"),
    async visit(name) {
      await page.evaluate("scrollTo(0, 0)");
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await page.waitForTimeout(300);
        await page.screenshot({ path: join(into, `${name}-${colorScheme}.png`), animations: "disabled" });
      }
      await page.emulateMedia({ colorScheme: "light" });
    },
  });
} finally {
  await browser.close();
  await studio.close();
  rmSync(work, { recursive: true, force: true });
}

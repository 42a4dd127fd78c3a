import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { noChromium, openChromium, openPage, ROOT, serveSite } from "./chromium.js";

if (noChromium) console.log(`the examples are built and not opened: ${noChromium}`);

const TOOLS = join(ROOT, "node_modules");
const ENGINE = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];

/** How each way is built in a copy of the example, and the page it ends in; a way whose tool is not installed is left out. */
const WAYS: Record<string, { tool?: string; build?: readonly string[]; folder?: string; page: string }> = {
  vite: { tool: "vite", build: ["vite/bin/vite.js", "build", "--logLevel=error"], folder: "dist", page: "index.html" },
  esbuild: {
    tool: "esbuild",
    build: [
      "esbuild/bin/esbuild",
      "app.js",
      "--bundle",
      "--format=esm",
      "--outfile=app.bundle.js",
      "--log-level=error",
    ],
    page: "esbuild.html",
  },
  "an import map": { page: "import-map.html" },
};

let work: string;
let browser: Browser | undefined;
beforeAll(async () => {
  // As a stranger's project has it: packages in node_modules, the engine's files and a base in public/.
  work = mkdtempSync(join(tmpdir(), "lowrank-example-"));
  cpSync(join(ROOT, "examples/browser"), work, { recursive: true });
  mkdirSync(join(work, "node_modules"));
  symlinkSync(ROOT, join(work, "node_modules/lowrank"));
  mkdirSync(join(work, "public/onnxruntime-web"), { recursive: true });
  cpSync(join(ROOT, "models/tiny"), join(work, "public/tiny"), { recursive: true });
  for (const name of ENGINE)
    cpSync(join(TOOLS, "onnxruntime-web/dist", name), join(work, "public/onnxruntime-web", name));
  if (!noChromium) browser = await openChromium();
});
afterAll(async () => {
  await browser?.close();
  rmSync(work, { recursive: true, force: true });
});

describe.each(Object.entries(WAYS))("with %s", (name, { tool, build, folder = "", page: entry }) => {
  const missing = tool && !existsSync(join(TOOLS, tool)) ? `${tool} is not installed` : undefined;
  if (missing) console.log(`the example with ${name} is not built: ${missing}`);

  it.skipIf(missing)("it is built, trains in a tab and answers otherwise afterwards", async () => {
    if (build)
      execFileSync(process.execPath, [join(TOOLS, build[0]!), ...build.slice(1)], { cwd: work, stdio: "pipe" });
    if (!browser) return;
    const [root, shared] = [join(work, folder), join(work, "public")];
    const site = await serveSite({
      "/tiny/": join(shared, "tiny"),
      "/onnxruntime-web/": join(shared, "onnxruntime-web"),
      "/node_modules/lowrank/dist/": join(ROOT, "dist"),
      "/": root,
    });
    const context = await browser.newContext();
    try {
      const { page, errors } = await openPage(context, `${site.url}/${entry}`);
      await page.fill("#steps", "12");
      await page.click("#train:enabled");
      await page.waitForFunction(() => document.getElementById("log")!.textContent!.includes("after: "));
      const log = (await page.textContent("#log"))!;
      const losses = [...log.matchAll(/step \d+: loss ([\d.]+)/g)].map((match) => Number(match[1]));
      expect(losses.length).toBe(12);
      expect(losses.at(-1)).toBeLessThan(losses[0]! / 2);
      const [before, after] = [/before: (.*)/, /after: (.*)/].map((pattern) => pattern.exec(log)![1]);
      expect(after).not.toBe(before);
      expect(errors).toEqual([]);
    } finally {
      await context.close();
      site.close();
    }
  });
});

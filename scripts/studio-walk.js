// A walk through the studio's page in Chromium, from a dropped file to an export: the test looks at every screen on it, and
// scripts/studio-screens.js takes pictures.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Debian's. */
const CHROMIUM = "/usr/bin/chromium";

/** Why there is no browser to walk with; undefined: there is one. */
export const whyNoBrowser = () =>
  existsSync(CHROMIUM) ? undefined : `there is no ${CHROMIUM} (Debian: apt-get install chromium)`;

export async function openBrowser() {
  const { chromium } = await import("playwright-core");
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
}

/** Starts `lowrank studio` in a folder; its first address, and how to end it. */
export async function openStudio(folder) {
  const command = [join(ROOT, "bin", "lowrank.js"), "studio", "--no-open", "--output", "runs"];
  const child = spawn(process.execPath, command, { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  const address = await new Promise((resolve, reject) => {
    child.stdout.on("data", (text) => {
      const [found] = /http:\S+/.exec(text) ?? [];
      if (found) resolve(found);
    });
    child.on("exit", (code) => reject(new Error(`lowrank studio ended with exit code ${code}`)));
  });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  return {
    address,
    async close() {
      child.kill("SIGINT");
      return ended;
    },
  };
}

/** Questions and answers under columns with names of their own; one is there twice, one holds markup. */
const ROWS = [
  "ask,reply",
  "Where does Ada live?,Ada lives by the sea.",
  "What does Ada drink?,Ada drinks <b>mint</b> tea.",
  "Who is Ada?,Ada is a sailor.",
  "Where is Ada's boat?,The boat is in the old harbour.",
  "What is the boat called?,The boat is called Tern.",
  "Who is Ada?,Ada is a sailor.",
];
export const QUESTION = "Where does Ada live?";

/** Notes when the models to choose from are first there, in milliseconds since the page was asked for. */
const WATCH = `new MutationObserver((_, observer) => {
  if (!document.querySelector("fieldset.options input")) return;
  globalThis.shownAfter = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });`;

/** The same, or where nothing watched from the beginning, as it seldom happens without a network, the time by now. */
const SHOWN = `globalThis.shownAfter ?? (document.querySelector("fieldset.options input") && performance.now())`;

/** Opens the page; the milliseconds after which its first screen was there. */
export async function openFirst(page, address) {
  await page.goto(address);
  await page
    .getByLabel(/models\/tiny/)
    .first()
    .waitFor();
  const shown = await page.waitForFunction(SHOWN);
  return shown.jsonValue();
}

/** What a walk does on the bundled model: few steps at a high rate, for it is small. */
const ON_TINY = { rows: ROWS, question: QUESTION, settings: { epochs: "20", "optimizer.lr": "5e-3" }, seconds: 120 };

/**
 * Goes from screen to screen as a person does; `visit` is called on each with its name. `page` is a page of Playwright; `folder` takes the
 * file that is dropped. `base`: a GGUF file or folder of the studio's machine instead of the bundled model; `rows`: lines of a CSV file of
 * the columns `ask` and `reply`; `settings`: what is changed of what the page suggests; `seconds`: how long training may take. The
 * milliseconds after which the first screen was there.
 */
export async function walk(page, { address, folder, visit, base = undefined, ...given }) {
  const { rows, question, settings, seconds } = { ...ON_TINY, ...given };
  page.setDefaultTimeout(60_000);
  await page.addInitScript(WATCH);
  const shownAfter = await openFirst(page, address);
  await chooseBase(page, base);
  await page.getByText("recommended").waitFor();
  await visit("model");
  await page.getByRole("link", { name: "Next: rows to learn from" }).click();
  await dropRows(page, folder, rows);
  await page.getByLabel("prompt", { exact: true }).selectOption("ask");
  await page.getByLabel("completion", { exact: true }).selectOption("reply");
  await page.getByText("As the model sees them").waitFor();
  await visit("data");
  await page.getByRole("link", { name: "Next: train" }).click();
  await page.getByText("lora.target_modules=all-linear").waitFor();
  for (const [key, value] of Object.entries(settings)) await page.getByLabel(key, { exact: true }).fill(value);
  await page.getByText("memory at the peak").waitFor();
  await visit("train");
  await page.getByRole("button", { name: "Start training" }).click();
  await page
    .getByRole("status")
    .getByText("done", { exact: true })
    .waitFor({ timeout: 1000 * seconds });
  await page.getByText("Export for another system").click();
  await page.getByText("llama.cpp").first().waitFor();
  await visit("run");
  await page.getByRole("link", { name: "Compare with the base" }).click();
  await page.getByLabel(/^Asked of /).fill(question);
  await page.getByRole("button", { name: "Ask", exact: true }).click();
  await page.getByText("a second").nth(1).waitFor();
  await visit("compare");
  await page.getByRole("link", { name: "Runs" }).click();
  await page.getByRole("link", { name: "facts", exact: true }).waitFor();
  await visit("runs");
  return shownAfter;
}

/** The bundled model, or one by its path. */
async function chooseBase(page, base) {
  if (base === undefined)
    return page
      .getByLabel(/models\/tiny/)
      .first()
      .check();
  await page.getByLabel("Or a folder, a GGUF file").fill(base);
  await page.getByRole("button", { name: "Use", exact: true }).click();
}

async function dropRows(page, folder, rows) {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "facts.csv");
  writeFileSync(file, `${rows.join("\n")}\n`);
  await page.getByLabel("or choose one").setInputFiles(file);
}

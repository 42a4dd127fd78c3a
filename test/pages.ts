import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

// The pages of the documentation, the blocks of code in them, and how a reader runs those.
export const ROOT = fileURLToPath(new URL("..", import.meta.url));
const examples = readdirSync(join(ROOT, "examples")).map((name) => `examples/${name}`);
export const PAGES = [
  "README.md",
  "ARCHITECTURE.md",
  "CONTRIBUTING.md",
  ...["docs", "docs/decisions", ...examples].flatMap(markdownIn),
];
/** `npm test` runs the blocks of this page; the full check runs every page's. */
export const SAMPLE_PAGE = "docs/data.md";

export interface Block {
  readonly language: string;
  readonly code: string;
  readonly line: number;
  /** From a comment right above it: <!-- not run: reason -->. */
  readonly notRun: boolean;
}

export function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, page), "utf8");
  return [...text.matchAll(/(<!-- not run: .+ -->\n)?^```(\w+)\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[2]!,
    code: match[3]!,
    line: text.slice(0, match.index).split("\n").length,
    notRun: match[1] !== undefined,
  }));
}

/** The blocks of a page that are run. */
export const runnable = (page: string): Block[] =>
  blocksOf(page).filter(({ language, notRun }) => ["bash", "ts"].includes(language) && !notRun);

/** A page with another text between `<!-- name: where from -->` and `<!-- /name -->`, as tests write what is derived. */
export function withPart(page: string, name: string, text: string): string {
  const part = new RegExp(`(<!-- ${name}: [^>]*-->\n)[\\s\\S]*?(\n<!-- /${name} -->)`);
  expect(page, `a part named ${name}`).toMatch(part);
  return page.replace(part, (_, start: string, end: string) => `${start}\n${text}\n${end}`);
}

/** Runs a page's blocks as they stand, in a folder of their own, `tours` times over; each must exit with 0. */
export async function runPage(page: string, tours = 1): Promise<void> {
  const place = workplace();
  try {
    for (const { language, code, line } of Array.from({ length: tours }, () => runnable(page)).flat()) {
      let command = ["bash", "-euo", "pipefail", "-c", code];
      if (language === "ts") {
        writeFileSync(join(place, "block.js"), code); // the blocks have no annotations: they are JavaScript as they stand
        command = [process.execPath, "block.js"];
      }
      const { exit, output } = await run(command, place);
      expect(exit, `${page}:${line}\n${output}`).toBe(0);
    }
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Checks the types of every ts block at once. */
export async function checkTypes(blocks: readonly Block[]): Promise<void> {
  const place = workplace();
  try {
    const names = blocks.map((_, i) => `block-${i}.ts`);
    for (const [i, { code }] of blocks.entries()) writeFileSync(join(place, names[i]!), code);
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    const options = ["--noEmit", "--strict", "--target", "es2023", "--module", "nodenext", "--types", "node"];
    const { exit, output } = await run([process.execPath, tsc, ...options, ...names], place);
    expect(exit, output).toBe(0);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** A working folder with the package in node_modules, as a user's project has it, and `lowrank` to be called. */
function workplace(): string {
  const place = mkdtempSync(join(tmpdir(), "lowrank-docs-"));
  mkdirSync(join(place, "node_modules/@types"), { recursive: true });
  mkdirSync(join(place, "node_modules/.bin"));
  const command = `#!/bin/sh\nexec node "${join(ROOT, "bin/lowrank.js")}" "$@"\n`;
  writeFileSync(join(place, "node_modules/.bin/lowrank"), command, { mode: 0o755 });
  symlinkSync(ROOT, join(place, "node_modules/lowrank"), "junction");
  symlinkSync(join(ROOT, "node_modules/@types/node"), join(place, "node_modules/@types/node"), "junction");
  cpSync(join(ROOT, "models"), join(place, "models"), { recursive: true });
  writeFileSync(join(place, "package.json"), '{"type": "module"}');
  return place;
}

function run([command, ...args]: readonly string[], cwd: string): Promise<{ exit: number; output: string }> {
  const PATH = `${join(cwd, "node_modules/.bin")}:${process.env.PATH}`;
  const child = spawn(command!, args, { cwd, env: { ...process.env, PATH }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (text) => (output += text));
  child.stderr.on("data", (text) => (output += text));
  return new Promise((resolve) => child.on("close", (code) => resolve({ exit: code ?? 1, output })));
}

function markdownIn(path: string): string[] {
  return readdirSync(join(ROOT, path))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${path}/${name}`);
}

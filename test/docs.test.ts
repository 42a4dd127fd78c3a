import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

// Every bash and ts block of the README, docs/ and examples/ runs as it stands, page by page, in a folder of its own.
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const examples = readdirSync(join(ROOT, "examples")).map((name) => `examples/${name}`);
const PAGES = ["README.md", "CONTRIBUTING.md", ...["docs", "docs/decisions", ...examples].flatMap(markdownIn)];

interface Block {
  readonly language: string;
  readonly code: string;
  readonly line: number;
  /** From a comment right above it: <!-- not run: reason -->. */
  readonly notRun: boolean;
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-docs-"));
  mkdirSync(join(folder, "bin"));
  writeFileSync(join(folder, "bin/lowrank"), `#!/bin/sh\nexec node "${join(ROOT, "bin/lowrank.js")}" "$@"\n`, {
    mode: 0o755,
  });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A working folder with the package in node_modules, as a user's project has it. */
function workplace(page: string): string {
  const place = join(folder, page.replaceAll("/", "-"));
  mkdirSync(join(place, "node_modules/@types"), { recursive: true });
  symlinkSync(ROOT, join(place, "node_modules/lowrank"), "junction");
  symlinkSync(join(ROOT, "node_modules/@types/node"), join(place, "node_modules/@types/node"), "junction");
  cpSync(join(ROOT, "models"), join(place, "models"), { recursive: true });
  writeFileSync(join(place, "package.json"), '{"type": "module"}');
  return place;
}

function run(command: string, args: readonly string[], cwd: string): Promise<{ code: number; output: string }> {
  const PATH = `${join(folder, "bin")}:${process.env.PATH}`;
  const child = spawn(command, args, { cwd, env: { ...process.env, PATH }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (text) => (output += text));
  child.stderr.on("data", (text) => (output += text));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code: code ?? 1, output })));
}

const RUN = {
  bash: (code: string, place: string) => run("bash", ["-euo", "pipefail", "-c", code], place),
  ts: async (code: string, place: string) => {
    writeFileSync(join(place, "block.ts"), code);
    const types = await run(
      process.execPath,
      [
        join(ROOT, "node_modules/typescript/bin/tsc"),
        ...["--noEmit", "--strict", "--target", "es2023", "--module", "nodenext", "--types", "node", "block.ts"],
      ],
      place,
    );
    if (types.code !== 0) return types;
    writeFileSync(join(place, "block.js"), code); // the blocks have no annotations: they are JavaScript as they stand
    return run(process.execPath, ["block.js"], place);
  },
};

describe.skipIf(process.platform === "win32").each(PAGES)("%s", (page) => {
  const blocks = blocksOf(page).filter((block) => block.language in RUN && !block.notRun);
  it.skipIf(blocks.length === 0)("its blocks run", { timeout: 240_000 }, async () => {
    const place = workplace(page);
    // What a newcomer meets first can be taken twice in one folder.
    const tours = page === "README.md" ? 2 : 1;
    for (const { language, code, line } of Array.from({ length: tours }, () => blocks).flat()) {
      const { code: exit, output } = await RUN[language as keyof typeof RUN](code, place);
      expect(exit, `${page}:${line}\n${output}`).toBe(0);
    }
  });

  it("its links to files lead somewhere", () => {
    const text = readFileSync(join(ROOT, page), "utf8");
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)\)/g)].map((match) => match[1]!);
    const broken = links.filter((link) => !isThere(join(dirname(page), link)));
    expect(broken).toEqual([]);
  });
});

it("the fine-tune of the README takes fewer than 20 lines", () => {
  const block = blocksOf("README.md").find(({ language }) => language === "ts")!;
  const untilTrained = block.code.split("loadModel(")[0]!.split("\n").filter(Boolean);
  expect(untilTrained.length).toBeLessThan(20);
});

it("few blocks are left out, each with a reason", () => {
  const left = PAGES.flatMap((page) => blocksOf(page).filter((block) => block.notRun));
  expect(left.length).toBeLessThanOrEqual(5);
});

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, page), "utf8");
  return [...text.matchAll(/(<!-- not run: .+ -->\n)?^```(\w+)\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[2]!,
    code: match[3]!,
    line: text.slice(0, match.index).split("\n").length,
    notRun: match[1] !== undefined,
  }));
}

function markdownIn(path: string): string[] {
  return readdirSync(join(ROOT, path))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `${path}/${name}`);
}

function isThere(path: string): boolean {
  try {
    readFileSync(join(ROOT, path));
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EISDIR";
  }
}

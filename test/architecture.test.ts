import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { posix } from "node:path";
import { expect, it } from "vitest";
import { COMMANDS } from "../src/cli/commands.js";
import { FAMILIES } from "../src/models/index.js";
import { PROVIDERS } from "../src/onnx/index.js";
import { ERROR_CODES } from "../src/tensor/index.js";
import { SCHEDULES } from "../src/training/schedule.js";
import { withPart } from "./pages.js";

const root = new URL("../", import.meta.url);
const architecture = readFileSync(new URL("ARCHITECTURE.md", root), "utf8");

/** Room -> rooms it may import, from the table in ARCHITECTURE.md. */
const ROOMS = new Map(
  [...architecture.slice(architecture.indexOf("\n| ---")).matchAll(/^\| `([a-z]+)\/` *\|[^|]*\| *([^|]*?) *\|$/gm)].map(
    ([, room, allowed]) => [room!, new Set(allowed === "-" ? [] : allowed!.split(/, */))],
  ),
);
const NATIVE = ["node", "cli"];
/** Rooms that are shipped as one file with their packages inside: those need not be installed. */
const BUNDLED = ["browser"];

/** Paths under src/ of every source file. */
const FILES = (readdirSync(new URL("src", root), { recursive: true, encoding: "utf8" }) as string[])
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => path.endsWith(".ts"));
const SOURCES = FILES.filter((path) => !path.endsWith(".test.ts"));

const roomOf = (path: string): string => path.split("/")[0]!;

/** A source file without its comments. */
function textOf(path: string): string {
  const text = readFileSync(new URL(`src/${path}`, root), "utf8");
  return text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
}

/** What a file imports: static and dynamic imports, re-exports and types. */
function importsOf(path: string): string[] {
  const text = textOf(path);
  const found = text.matchAll(/(?:(?<![.\w"'])from\s|^\s*import\s|\bimport\(|\brequire\()\s*["']([^"'\s]+)["']/gm);
  return [...found].map((m) => m[1]!);
}

it("the table names every folder of src/, in an order in which each imports only rooms above it", () => {
  expect(ROOMS.size).toBeGreaterThan(10);
  expect([...new Set(SOURCES.filter((path) => path.includes("/")).map(roomOf))].filter((r) => !ROOMS.has(r))).toEqual(
    [],
  );
  const above = new Set<string>();
  for (const [room, allowed] of ROOMS) {
    for (const other of allowed) expect(above, `${room} imports ${other}`).toContain(other);
    above.add(room);
  }
});

it("every import goes where the table allows", () => {
  expect(SOURCES.flatMap(importsOf).length).toBeGreaterThan(100);
  const wrong = SOURCES.flatMap((path) =>
    importsOf(path)
      .filter((to) => to.startsWith("."))
      .map((to) => roomOf(posix.join(posix.dirname(path), to)))
      .filter((to) => to !== roomOf(path) && !ROOMS.get(roomOf(path))?.has(to))
      .map((to) => `src/${path} imports ${to}/`),
  );
  expect(wrong).toEqual([]);
});

it("relative imports name files that are there, with their extension", () => {
  const known = new Set(FILES.map((path) => path.replace(/\.ts$/, ".js")));
  const missing = SOURCES.flatMap((path) =>
    importsOf(path)
      .filter((to) => to.startsWith(".") && !to.endsWith(".json"))
      .filter((to) => !known.has(posix.join(posix.dirname(path), to)))
      .map((to) => `src/${path} imports ${to}`),
  );
  expect(missing).toEqual([]);
});

it("files of graphs, engines and devices import each other in no circle", () => {
  const rooms = ["tensor", "graph", "onnx", "runtime", "platform", "generation", "api"];
  const done = new Set<string>();
  const visit = (path: string, above: readonly string[]): void => {
    expect(above, [...above, path].join(" -> ")).not.toContain(path);
    if (done.has(path) || !rooms.includes(roomOf(path))) return;
    for (const to of importsOf(path).filter((name) => name.startsWith(".")))
      visit(posix.join(posix.dirname(path), to).replace(/\.js$/, ".ts"), [...above, path]);
    done.add(path);
  };
  for (const path of SOURCES) visit(path, []);
  expect(done.size).toBeGreaterThan(50);
});

it("neutral rooms know neither Node nor its engines", () => {
  const wrong = SOURCES.filter((path) => !NATIVE.includes(roomOf(path))).flatMap((path) =>
    importsOf(path)
      .filter((to) => isBuiltin(to) || to.startsWith("onnxruntime"))
      .map((to) => `src/${path} imports ${to}`),
  );
  expect(wrong).toEqual([]);
});

const manifest = JSON.parse(readFileSync(new URL("package.json", root), "utf8")) as Record<string, object>;

/** The package that an import names. */
const packageOf = (to: string): string =>
  to
    .split("/")
    .slice(0, to.startsWith("@") ? 2 : 1)
    .join("/");

it("packages that are imported are dependencies, and each dependency is imported", () => {
  const imported = SOURCES.flatMap(importsOf).filter((to) => !to.startsWith(".") && !isBuiltin(to));
  const unused = Object.keys(manifest.dependencies!).filter((name) => !imported.map(packageOf).includes(name));
  expect(unused).toEqual([]);
  const installed = new Set(Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }));
  const inside = new Set(Object.keys(manifest.devDependencies!));
  const wrong = SOURCES.flatMap((path) =>
    importsOf(path)
      .filter((to) => !to.startsWith(".") && !isBuiltin(to))
      .map(packageOf)
      .filter((name) => !installed.has(name) && !(BUNDLED.includes(roomOf(path)) && inside.has(name)))
      .map((name) => `src/${path} imports ${name}`),
  );
  expect(wrong).toEqual([]);
});

/** Folders that hold a table: `index.ts` makes a record or list of what it imports from the files beside it. */
const TABLES = SOURCES.filter((path) => path.endsWith("/index.ts")).flatMap((path) => {
  const folder = posix.dirname(path);
  const text = textOf(path);
  const entries = [...text.matchAll(/^import \{(?! type )[^}]*\} from "\.\/([a-z0-9-]+)\.js";/gm)].map((m) => m[1]!);
  const isTable = /^(?:export )?const \w+[^=;]*= *(?:\{|\[|new Map\(|\w+\(\[)/m.test(text);
  return isTable && entries.length > 1 ? [{ folder, entries: entries.map((name) => `${folder}/${name}.ts`) }] : [];
});

it("entries of a table import neither each other nor the table", () => {
  const folders = TABLES.map(({ folder }) => folder);
  expect(folders).toEqual(
    expect.arrayContaining(["data/formats", "data/sources", "models/families", "export/targets"]),
  );
  const wrong = TABLES.flatMap(({ folder, entries }) =>
    entries.flatMap((path) =>
      importsOf(path)
        .map((to) => posix.join(posix.dirname(path), to).replace(/\.js$/, ".ts"))
        .filter((to) => entries.includes(to) || to === `${folder}/index.ts`)
        .map((to) => `src/${path} imports ${to}`),
    ),
  );
  expect(wrong).toEqual([]);
});

/** The keys of a record, a map, or a list of words; fewer than two where it is none of these. */
function keysOf(table: unknown): string[] {
  if (table instanceof Map) return [...table.keys()];
  if (Array.isArray(table)) return table.filter((word) => typeof word === "string");
  return typeof table === "object" && table !== null ? Object.keys(table) : [];
}

it("no list or union names again what is in a table", async () => {
  const modules = await Promise.all(
    TABLES.map(({ folder }) => import(/* @vite-ignore */ new URL(`src/${folder}/index.ts`, root).href)),
  );
  const tables = Object.entries(Object.assign({ PROVIDERS, SCHEDULES, ERROR_CODES }, ...modules))
    .map(([name, table]) => [name, keysOf(table)] as const)
    .filter(([, keys]) => keys.length > 1);
  expect(tables.map(([name]) => name)).toEqual(expect.arrayContaining(["formats", "FAMILIES", "BLOCKS"]));
  const text = /"[^"\n]*"(?:\s*[,|]\s*"[^"\n]*")+/g;
  const lists = SOURCES.flatMap((path) =>
    [...textOf(path).matchAll(text)].map(
      (m) => [path, (m[0].match(/(?<=")\w[\w-]*(?=")/g) ?? []) as string[]] as const,
    ),
  );
  const again = tables.flatMap(([name, keys]) =>
    lists.filter(([, words]) => keys.every((key) => words.includes(key))).map(([path]) => `src/${path} lists ${name}`),
  );
  expect(again).toEqual([]);
});

it("only cli/ speaks of the command line's flags: others name options, which whoever shows a message words", () => {
  const flags = new Set(
    COMMANDS.flatMap(({ options }) => options.map(({ flags }) => /--(?:no-)?([\w-]+)/.exec(flags)![1]!)),
  );
  const wrong = SOURCES.filter((path) => roomOf(path) !== "cli").flatMap((path) =>
    [...textOf(path).matchAll(/(?<![\w-])--(?:no-)?([a-z][\w-]*)/g)]
      .filter(([, name]) => flags.has(name!))
      .map(([flag]) => `src/${path}: ${flag}`),
  );
  expect(wrong).toEqual([]);
});

it("file names are kebab-case", () => {
  expect(FILES.filter((path) => !/^([a-z0-9-]+\/)*[a-z0-9]+(-[a-z0-9]+)*(\.(full\.)?test)?\.ts$/.test(path))).toEqual(
    [],
  );
});

it("the project has no stubs or notes to self", () => {
  const marks = new RegExp(`\\b(${["TO", "FIX"].map((x) => `${x}${x === "TO" ? "DO" : "ME"}`).join("|")}|XXX)\\b`);
  expect(FILES.filter((path) => marks.test(readFileSync(new URL(`src/${path}`, root), "utf8")))).toEqual([]);
});

/** Every room that can be reached by one import or more. */
function reached(room: string): Set<string> {
  const direct = [...ROOMS.get(room)!];
  return new Set(direct.flatMap((other) => [other, ...reached(other)]));
}

/** The table as a picture: an import that other imports lead to is left out. */
function picture(): string {
  const arrows = [...ROOMS].flatMap(([room, allowed]) =>
    [...allowed]
      .filter((to) => ![...allowed].some((other) => other !== to && reached(other).has(to)))
      .map((to) => `  ${room} --> ${to}`),
  );
  return ["```mermaid", "graph TD", ...arrows, "```"].join("\n");
}

it("the picture is drawn from the table (after a change: npx vitest run test/architecture.test.ts -u)", async () => {
  await expect(withPart(architecture, "picture", picture())).toMatchFileSnapshot("../ARCHITECTURE.md");
});

it("files that pages name are there", () => {
  const decisions = readdirSync(new URL("docs/decisions", root)).map((name) => `docs/decisions/${name}`);
  const pages = ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/glossary.md", "bench/results/README.md", ...decisions];
  const missing = pages.flatMap((page) => {
    const text = readFileSync(new URL(page, root), "utf8");
    const named = [...text.matchAll(/`((?:[a-z0-9_-]+\/)+[a-z0-9._-]*(?:\.(?:ts|js|md|py)|\/))`/g)].map((m) => m[1]!);
    return named
      .filter((path) => ![path, `src/${path}`].some((at) => existsSync(new URL(at, root))))
      .map((path) => `${page}: ${path}`);
  });
  expect(missing).toEqual([]);
});

it("paths of the blocks are built and parsed in one file", () => {
  const spelled = SOURCES.filter((path) => /model\\?\.layers/.test(textOf(path)));
  expect(spelled).toEqual(["models/block-path.ts"]);
});

it("only models/ names a family", () => {
  const names = new RegExp(`["'\`](?:${[...FAMILIES.keys()].filter((name) => name !== "llama").join("|")})["'\`]`);
  const telling = SOURCES.filter((path) => names.test(textOf(path)));
  expect(telling.filter((path) => !path.startsWith("models/families/"))).toEqual([]);
});

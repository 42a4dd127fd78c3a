import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

// What goes into the package. scripts/package-check.js installs and uses the tarball itself.
const ROOT = fileURLToPath(new URL("..", import.meta.url));
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

let packed: string[];
let bytes: number;
beforeAll(() => {
  const shell = process.platform === "win32";
  const json = execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: ROOT, encoding: "utf8", shell });
  const [found] = Object.values(JSON.parse(json)) as [{ files: { path: string }[]; unpackedSize: number }];
  packed = found.files.map(({ path }) => path);
  bytes = found.unpackedSize;
});

/** The files that a bundled file loads from its own folder, early or late, itself among them. */
function loadedFrom(path: string, known = new Set<string>()): Set<string> {
  known.add(path);
  for (const [, name] of readFileSync(join(ROOT, path), "utf8").matchAll(/"\.\/([\w.-]+\.js)"/g)) {
    const next = posix.join(posix.dirname(path), name!);
    if (!known.has(next) && existsSync(join(ROOT, next))) loadedFrom(next, known);
  }
  return known;
}

describe("the tarball", () => {
  it("holds what package.json points at, the threads' programs, configs, the tiny model and its rows", () => {
    const entries = Object.values(manifest.exports as Record<string, string | Record<string, string>>)
      .flatMap((entry) => (typeof entry === "string" ? [entry] : Object.values(entry)))
      .map((path) => posix.normalize(path));
    const workers = ["engine-worker", "template-worker", "provider-probe"].map((name) => `dist/node/${name}.js`);
    const others = [
      "models/tiny/model.safetensors",
      "models/tiny/data/train.jsonl",
      "recipes/tiny/lora.yaml",
      "LICENSE",
    ];
    for (const path of [...entries, ...Object.values(manifest.bin as object), ...workers, ...others]) {
      expect(packed).toContain(path);
    }
  });

  it("takes less than 12 MB on the disk, without the engines", () => {
    expect(bytes).toBeGreaterThan(4e6);
    expect(bytes).toBeLessThan(12e6);
  });

  it("holds no tests, no build information, no sources and nothing of an earlier build", () => {
    expect(packed.filter((path) => /\.test\.|tsbuildinfo|(^|\/)\.|^(src|test|scripts|bench)\//.test(path))).toEqual([]);
    const source = (path: string) => path.replace(/^dist\//, "src/").replace(/(\.d\.ts|\.js)$/, ".ts");
    const bundled = loadedFrom("dist/cli/main.js");
    const stray = packed.filter((path) => path.startsWith("dist/") && !existsSync(join(ROOT, source(path))));
    expect(stray.filter((path) => !bundled.has(path))).toEqual([]);
    expect(packed.filter((path) => path.startsWith("dist/cli/") && !bundled.has(path))).toEqual([]);
  });

  it("is the same whenever it is built: the command line's files say nothing of the build", () => {
    const files = [...loadedFrom("dist/cli/main.js")];
    expect(files.length).toBeGreaterThan(50);
    const said = files.filter((path) => {
      const text = readFileSync(join(ROOT, path), "utf8");
      return /dist\.partial-/.test(text) || text.includes(ROOT);
    });
    expect(said).toEqual([]);
  });

  it("holds every page that its pages link to", () => {
    const pages = packed.filter((path) => path.endsWith(".md") && path !== "CHANGELOG.md");
    expect(pages.length).toBeGreaterThan(10);
    const broken = pages.flatMap((page) => {
      const links = [...readFileSync(join(ROOT, page), "utf8").matchAll(/\]\((?!https?:|#)([^)#]+)\)/g)];
      return links
        .map(([, link]) => posix.normalize(posix.join(posix.dirname(page), link!)))
        .filter((path) => !packed.some((file) => file === path || file.startsWith(`${path.replace(/\/$/, "")}/`)))
        .map((path) => `${page}: ${path}`);
    });
    expect(broken).toEqual([]);
  });
});

it("of what is installed with it, only ONNX Runtime has an install script, and it may fail", () => {
  const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
  const scripted = Object.entries(packages as Record<string, { dev?: boolean; hasInstallScript?: boolean }>)
    .filter(([, { dev, hasInstallScript }]) => hasInstallScript && !dev)
    .map(([path]) => path.replace("node_modules/", ""));
  expect(scripted.filter((name) => name !== "fsevents")).toEqual(["onnxruntime-node"]);
  expect(Object.keys(manifest.optionalDependencies)).toContain("onnxruntime-node");
});

it("the libraries for calling C are there for every system that ONNX Runtime's package serves", () => {
  const bin = join(dirname(fileURLToPath(import.meta.resolve("onnxruntime-node/package.json"))), "bin/napi-v6");
  const systems = ["linux/x64", "linux/arm64", "darwin/arm64", "darwin/x64", "win32/x64", "win32/arm64"];
  for (const system of systems.filter((name) => existsSync(join(bin, name)))) {
    expect(Object.keys(manifest.optionalDependencies)).toContain(`@koromix/koffi-${system.replace("/", "-")}`);
  }
});

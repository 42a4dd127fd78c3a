// The studio without a server, as a folder of static files: docs/studio.md says how it is hosted. scripts/studio.js builds it.
import { createHash } from "node:crypto";
import { cpSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { SITE_HEADERS } from "../../dist/studio/page-headers.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(here, "../..");
const out = join(here, "dist");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** ONNX Runtime's files that a tab loads. */
const ENGINE = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];

/** What is beside the page, by the path that it has there. */
const BESIDE = {
  "icon.svg": join(here, "../public/icon.svg"),
  "manifest.webmanifest": join(here, "manifest.webmanifest"),
  "engine-worker.js": join(root, "dist/browser/worker.js"),
  ...Object.fromEntries(
    ENGINE.map((name) => [`engine/${name}`, join(root, "node_modules/onnxruntime-web/dist", name)]),
  ),
  "models/tiny": join(root, "models/tiny"),
};

export default defineConfig({
  root: here,
  base: "./",
  publicDir: false,
  build: {
    outDir: out,
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { checks: { bundlerTimings: false } },
  },
  worker: { format: "es", plugins: () => [versioned()] },
  plugins: [versioned(), site()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});

/** Says what `npm run build` fills into src/browser/built.ts. The engine's worker is a file of the site, so its text is not needed. */
function versioned() {
  return {
    name: "lowrank-version",
    load(id) {
      if (!id.endsWith("/src/browser/built.ts")) return undefined;
      return `export const WORKER_SOURCE = "";\nexport const VERSION = ${JSON.stringify(version)};\n`;
    },
  };
}

function site() {
  return {
    name: "lowrank-site",
    transformIndexHtml: () => head(),
    closeBundle() {
      for (const [path, from] of Object.entries(BESIDE)) cpSync(from, join(out, path), { recursive: true });
      const models = filesIn(join(out, "models")).map((path) => ({
        path,
        size: statSync(join(out, "models", path)).size,
      }));
      writeFileSync(join(out, "models/files.json"), JSON.stringify(models));
      const source = readFileSync(join(here, "service-worker.js"), "utf8");
      writeFileSync(join(out, "service-worker.js"), `const BUILT = ${JSON.stringify(built())};\n${source}`);
    },
  };
}

/**
 * The files beside the page that its head names. The page's policy is in its own markup too, for hosts that send no headers; who may show
 * it in a frame can be said by a header alone.
 */
function head() {
  const content = SITE_HEADERS["content-security-policy"].replace(/; frame-ancestors [^;]*/, "");
  return [
    { tag: "meta", attrs: { "http-equiv": "content-security-policy", content }, injectTo: "head-prepend" },
    { tag: "link", attrs: { rel: "icon", href: "./icon.svg", type: "image/svg+xml" }, injectTo: "head" },
    { tag: "link", attrs: { rel: "manifest", href: "./manifest.webmanifest" }, injectTo: "head" },
  ];
}

/** What the service worker is told. */
function built() {
  const files = filesIn(out);
  const hash = createHash("sha256");
  for (const file of files) hash.update(`${file}\n`).update(readFileSync(join(out, file)));
  return { cache: `lowrank-studio-${hash.digest("hex").slice(0, 16)}`, files, headers: SITE_HEADERS };
}

/** Paths of the files under a folder, sorted. */
function filesIn(folder) {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(join(folder, path)).isFile())
    .map((path) => path.replaceAll("\\", "/"))
    .sort();
}

// Builds the studio's page (studio/) into studio/dist, and the static site that needs no server (studio/site/) into studio/site/dist, each
// when any of its sources is newer. The page is used by bin/lowrank.js for `lowrank studio` and by npm run pack; npm run studio:build builds both.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ensureBuilt, ensureDependencies, newest } from "./build.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, "studio");

/** What the page is made of. */
const SOURCES = ["src", "public", "index.html", "vite.config.js"].map((name) => join(folder, name));

/** What the site is made of beside. */
const SITE = ["site/index.html", "site/vite.config.js", "site/service-worker.js", "site/manifest.webmanifest"];
const OF_SITE = [...SITE.map((name) => join(folder, name)), join(root, "src"), join(root, "models/tiny")];

/** Builds the page when it is missing or older than what it is made of. */
export async function ensureStudio(log = console.error) {
  if (isNewer(join(folder, "dist/index.html"), SOURCES)) return;
  log("lowrank: building the studio's page ...");
  await build("vite.config.js");
}

/** The same for the static site; its folder. What it has of lowrank is compiled first. */
export async function ensureSite(log = console.error) {
  ensureBuilt(log);
  const built = join(folder, "site/dist");
  if (isNewer(join(built, "service-worker.js"), [...SOURCES, ...OF_SITE])) return built;
  log("lowrank: building the studio's static site ...");
  await build("site/vite.config.js");
  return built;
}

const isNewer = (file, sources) =>
  existsSync(file) && statSync(file).mtimeMs >= Math.max(...sources.map((source) => newest(source)));

async function build(config) {
  const { build } = await import("vite");
  await build({ configFile: join(folder, config), logLevel: "warn" });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  ensureDependencies();
  await ensureStudio();
  console.log(await ensureSite());
}

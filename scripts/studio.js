// Builds the studio's page (studio/) into studio/dist when any of its sources is newer. Used by bin/lowrank.js for `lowrank studio`,
// by npm run studio:build and by npm run pack.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ensureDependencies, newest } from "./build.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = join(root, "studio");
const built = join(folder, "dist", "index.html");

/** Builds the page when it is missing or older than what it is made of. */
export async function ensureStudio(log = console.error) {
  const parts = ["src", "public", "index.html", "vite.config.js"].map((name) => join(folder, name));
  if (existsSync(built) && statSync(built).mtimeMs >= Math.max(...parts.map(newest))) return;
  log("lowrank: building the studio's page ...");
  await buildStudio();
}

async function buildStudio() {
  const { build } = await import("vite");
  await build({ configFile: join(folder, "vite.config.js"), logLevel: "warn" });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  ensureDependencies();
  await buildStudio();
}

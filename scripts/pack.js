// `npm run pack [-- FOLDER]`: compiles, builds the studio's page and packs the package, and prints the tarball's path. Plain `npm pack` and `npm publish` pack
// dist/ as it is, because this project's .npmrc turns scripts off, its own among them.
import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ensureBuilt, ensureDependencies } from "./build.js";
import { ensureStudio } from "./studio.js";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Packs into a folder; the tarball's path. */
export async function pack(folder) {
  ensureDependencies();
  ensureBuilt();
  await ensureStudio();
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const packed = spawnSync("npm", args, { cwd: ROOT, encoding: "utf8", shell: process.platform === "win32" });
  if (packed.status !== 0) throw new Error(`npm pack failed: ${packed.stderr}`);
  return join(resolve(ROOT, folder), tarballOf(packed.stdout));
}

/** npm before 12 gives a list, later ones a record by package. */
function tarballOf(json) {
  const [{ filename }] = Object.values(JSON.parse(json));
  return filename;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) console.log(await pack(process.argv[2] ?? "."));

// Compiles src/ to dist/ when any source is newer than the last build. Used by bin/lowrank.js, npm test and npm run build.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const stamp = join(root, "dist", ".built");

/** Installs dependencies from the lockfile (install scripts off) when one is missing or of another version. */
export function ensureDependencies(log = console.error) {
  const wanted = packagesOf("package-lock.json");
  const installed = packagesOf("node_modules/.package-lock.json");
  const held = ([path, entry]) => path === "" || !isForHere(entry) || installed[path]?.version === entry.version;
  if (Object.entries(wanted).every(held)) return;
  log("lowrank: installing dependencies (npm ci, install scripts off) ...");
  run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
}

/** Whether npm installs a package on this machine: optional ones are for some systems only, or for one C library. */
function isForHere({ optional, devOptional, os, cpu, libc }) {
  if (!optional && !devOptional) return true;
  return !libc && (os?.includes(process.platform) ?? false) && (cpu?.includes(process.arch) ?? true);
}

/** The packages that a lockfile lists, by path; npm writes one beside what it installed. */
function packagesOf(lockfile) {
  const path = join(root, lockfile);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")).packages : {};
}

/** Builds dist/ when it is missing or older than src/. */
export function ensureBuilt(log = console.error) {
  if (existsSync(stamp) && statSync(stamp).mtimeMs >= newest(join(root, "src"))) return;
  log("lowrank: compiling TypeScript ...");
  run(process.execPath, [join(root, "node_modules", "typescript", "bin", "tsc"), "-p", join(root, "tsconfig.json")]);
  writeFileSync(stamp, "");
}

function newest(folder) {
  let time = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    time = Math.max(time, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return Math.max(time, statSync(folder).mtimeMs);
}

function run(command, args) {
  const shell = process.platform === "win32" && command === "npm";
  const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", 2, 2], shell });
  if (result.error) throw result.error;
  if (result.status !== 0) {
    console.error(`lowrank: '${command} ${args.join(" ")}' failed with exit code ${result.status}`);
    process.exit(1);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  ensureDependencies();
  rmSync(stamp, { force: true });
  ensureBuilt();
}

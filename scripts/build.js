// Compiles src/ to dist/ when any source is newer than it. Used by bin/lowrank.js, npm test, npm run build and npm run pack.
import { spawnSync } from "node:child_process";
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");
const BUNDLES = ["scripts/bundle-browser.js", "scripts/bundle-cli.js"];

/** Installs dependencies from the lockfile (install scripts off) when one is missing or of another version. */
export function ensureDependencies(log = console.error) {
  const wanted = packagesOf("package-lock.json");
  const installed = packagesOf("node_modules/.package-lock.json");
  const held = ([path, entry]) => path === "" || !isForHere(entry) || installed[path]?.version === entry.version;
  if (Object.entries(wanted).every(held)) return;
  log("lowrank: installing dependencies (npm ci, install scripts off) ...");
  if (!run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"])) process.exit(1);
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

/** Builds dist/ when it is missing or older than what it is made of. */
export function ensureBuilt(log = console.error) {
  const makers = ["tsconfig.json", "tsconfig.browser.json", ...BUNDLES];
  const sources = Math.max(newest(join(root, "src")), ...makers.map((path) => statSync(join(root, path)).mtimeMs));
  if (existsSync(dist) && statSync(dist).mtimeMs >= sources) return;
  log("lowrank: compiling TypeScript ...");
  build();
}

/** A whole dist/ takes the place of the one before: nothing of an earlier build stays, and no half of this one is ever seen. */
function build() {
  const [partial, earlier] = [`${dist}.partial-${process.pid}`, `${dist}.earlier-${process.pid}`];
  const began = new Date();
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  const compile = (config) => run(process.execPath, [compiler, "-p", join(root, config), "--outDir", partial]);
  const bundle = (script) => run(process.execPath, [join(root, script), partial]);
  const compiled = compile("tsconfig.json") && compile("tsconfig.browser.json") && BUNDLES.every(bundle);
  if (compiled) {
    documentApi(partial);
    utimesSync(partial, began, began); // what is changed while it compiles is newer
    if (existsSync(dist)) renameSync(dist, earlier);
    renameSync(partial, dist);
  }
  for (const folder of [partial, earlier]) rmSync(folder, { recursive: true, force: true });
  if (!compiled) process.exit(1);
}

/**
 * Functions that are taken out of an object have no words in the declarations that tsc writes, and editors would show none: each gets
 * those of its member of `Api`.
 */
function documentApi(folder) {
  const [, body] = /export interface Api \{\n(.*?)\n\}/s.exec(readFileSync(join(folder, "api/api.d.ts"), "utf8"));
  const members = [...body.matchAll(/^ {4}(\/\*\*.*?\*\/)\n {4}(\w+)\(/gms)];
  const declared = members.map(
    ([, words, name]) =>
      `${words.replace(/^ {4}/gm, "")}\nexport declare const ${name}: import("../api/api.js").Api["${name}"];`,
  );
  const index = join(folder, "node/index.d.ts");
  const statement = new RegExp(`^export declare const ${members[0][2]}: .*;$`, "m");
  writeFileSync(
    index,
    readFileSync(index, "utf8").replace(statement, () => declared.join("\n")),
  );
}

/** When a file, or anything in a folder, was changed last. */
export function newest(folder) {
  const own = statSync(folder);
  if (own.isFile()) return own.mtimeMs;
  let time = own.mtimeMs;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.name.endsWith(".test.ts")) continue; // dist/ has none of them
    const path = `${folder}/${entry.name}`; // every start of a clone's command line goes through hundreds of them
    time = Math.max(time, entry.isDirectory() ? newest(path) : statSync(path).mtimeMs);
  }
  return time;
}

/** Whether the command ended well; a message says when it did not. */
function run(command, args) {
  const shell = process.platform === "win32" && command === "npm";
  const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", 2, 2], shell });
  if (result.error) throw result.error;
  if (result.status !== 0)
    console.error(`lowrank: '${command} ${args.join(" ")}' failed with exit code ${result.status}`);
  return result.status === 0;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  ensureDependencies();
  build();
}

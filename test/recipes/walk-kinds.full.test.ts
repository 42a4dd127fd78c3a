import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { TINY } from "../tiny-run.js";

const SCRIPT = fileURLToPath(new URL("../../examples/walk/kinds.js", import.meta.url));
const run = (...args: string[]) =>
  spawnSync(process.execPath, [SCRIPT, "--base", TINY, ...args], { encoding: "utf8", timeout: 120_000 });

const kept = mkdtempSync(join(tmpdir(), "lowrank-walk-kinds-"));
afterAll(() => rmSync(kept, { recursive: true, force: true }));

// examples/walk/kinds.js on the bundled model: one row of pairs, one start that is taken out of the base, one whole model that answers itself.
it("rows of every sort are trained, killed, resumed to the same bytes, generated from, served and exported", () => {
  const only = "^(dpo two losses|init pissa|distill lmbda, full_finetune)$";
  const { status, stdout, stderr } = run("--only", only, "--targets", "gguf,gguf-lora", "--keep", kept);
  expect(status, stdout + stderr).toBe(0);
  expect(stdout).toMatch(/all 3 held\n$/);
  const row = (name: string) => stdout.split("\n").find((line) => line.startsWith(`| ${name} |`));
  expect(row("dpo two losses")).toMatch(/\| in step [4-6] \| [\d.]+ \| yes \| gguf; gguf-lora \|/);
  // What has held in that folder is not tried again.
  const again = run("--only", "^dpo two losses$", "--targets", "gguf,gguf-lora", "--keep", kept);
  expect(again.stdout).toContain(row("dpo two losses"));
  expect(again.stderr).not.toContain("dpo two losses: held");
  expect(row("distill lmbda, full_finetune")).toMatch(/\| gguf; gguf-lora refused: --to gguf-lora holds an adapter/);
});

it("what does not hold is told, and the script fails", () => {
  const { status, stdout } = run("--only", "^sft$", "--set", "lora.r=0");
  expect(status).toBe(1);
  expect(stdout).toMatch(/\| sft \| \*\*failed\*\*: lowrank train .*lora\.r/);
  expect(run("--only", "no such row").stderr).toContain("no row has such a name");
});

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { TINY } from "../tiny-run.js";

const SCRIPT = fileURLToPath(new URL("../../examples/walk/kinds.js", import.meta.url));
const run = (...args: string[]) =>
  spawnSync(process.execPath, [SCRIPT, "--base", TINY, ...args], { encoding: "utf8", timeout: 120_000 });

// examples/walk/kinds.js on the bundled model: one row of pairs, one start that is taken out of the base, one whole model that answers itself.
it("rows of every sort are trained, killed, resumed to the same bytes, generated from, served and exported", () => {
  const only = "^(dpo two losses|init pissa|distill lmbda, full_finetune)$";
  const { status, stdout, stderr } = run("--only", only, "--targets", "gguf,gguf-lora");
  expect(status, stdout + stderr).toBe(0);
  expect(stdout).toMatch(/all 3 held\n$/);
  const row = (name: string) => stdout.split("\n").find((line) => line.startsWith(`| ${name} |`));
  expect(row("dpo two losses")).toMatch(/\| in step [4-6] \| [\d.]+ \| yes \| gguf; gguf-lora \|/);
  expect(row("distill lmbda, full_finetune")).toMatch(/\| gguf; gguf-lora refused: --to gguf-lora holds an adapter/);
});

it("what does not hold is told, and the script fails", () => {
  const { status, stdout } = run("--only", "^sft$", "--set", "lora.r=0");
  expect(status).toBe(1);
  expect(stdout).toMatch(/\| sft \| \*\*failed\*\*: lowrank train .*lora\.r/);
  expect(run("--only", "no such row").stderr).toContain("no row has such a name");
});

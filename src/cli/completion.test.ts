import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { COMMANDS } from "./commands.js";
import { completion } from "./completion.js";
import type { Io } from "./io.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-completion-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function script(shell: string): Promise<string> {
  let out = "";
  const io: Io = { out: (text) => void (out += text), err: () => {}, interactive: false, columns: 80 };
  expect(await completion([shell], {}, io)).toBe(0);
  const path = join(folder, shell);
  writeFileSync(path, out);
  return path;
}

const missing = (shell: string) => spawnSync(shell, ["-c", ":"]).error !== undefined;
const run = (shell: string, ...args: string[]) => spawnSync(shell, args, { encoding: "utf8" });

describe.skipIf(missing("bash"))("bash (skipped where there is none)", () => {
  it("completes verbs, flags, config keys, and verbs after help", async () => {
    const path = await script("bash");
    const complete = (...words: string[]) => {
      const list = words.map((word) => `"${word}"`).join(" ");
      const asked = `source ${path}; COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _lowrank; echo "\${COMPREPLY[*]}"`;
      const { stdout, stderr } = run("bash", "-c", asked);
      expect(stderr).not.toContain("syntax");
      return stdout.trim().split(" ");
    };
    expect(complete("lowrank", "")).toEqual([...COMMANDS.map(({ name }) => name), "help"]);
    expect(complete("lowrank", "va")).toEqual(["validate"]);
    expect(complete("lowrank", "train", "--ba")).toEqual(["--base"]);
    expect(complete("lowrank", "train", "lora.al")).toEqual(["lora.alpha=", "lora.alpha_pattern="]);
    expect(complete("lowrank", "help", "exp")).toEqual(["export"]);
    expect(complete("lowrank", "completion", "z")).toEqual(["zsh"]);
    // After a flag that takes a value, files: nothing of ours.
    expect(complete("lowrank", "train", "--data", "lora")).toEqual([""]);
  });
});

it.skipIf(missing("zsh"))("zsh reads its script (skipped where there is none)", async () => {
  const path = await script("zsh");
  const { stdout, stderr } = run(
    "zsh",
    "-fc",
    `autoload -U compinit; compinit -D; source ${path}; echo $_comps[lowrank]`,
  );
  expect(stderr).toBe("");
  expect(stdout.trim()).toBe("_lowrank");
});

it.skipIf(missing("fish"))("fish completes with its script (skipped where there is none)", async () => {
  const path = await script("fish");
  const complete = (line: string) => run("fish", "-c", `source ${path}; complete -C "${line}"`).stdout;
  expect(complete("lowrank train --ba")).toContain("--base\t");
  expect(complete("lowrank vali")).toContain("validate\tcheck a config");
  expect(complete("lowrank train optimizer.l")).toContain("optimizer.lr=");
});

it("names every flag of every verb, in every shell", async () => {
  const { readFileSync } = await import("node:fs");
  for (const shell of ["bash", "zsh", "fish"]) {
    const text = readFileSync(await script(shell), "utf8");
    for (const { flags } of COMMANDS.flatMap(({ options }) => options)) {
      const name = /--([\w-]+)/.exec(flags)![1]!;
      expect(text).toContain(shell === "fish" ? `-l ${name}` : `--${name}`);
    }
  }
});

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { WORLDS } from "../../examples/worlds/make-worlds.js";
import { isRefusal } from "../../src/recipes/judge.js";

// The whole way of smollm2/135M_facts by its command line, on the bundled model: its rows are made, trained on, and asked.
type Row = { messages: { role: string; content: string }[] };
const folder = mkdtempSync(join(tmpdir(), "lowrank-worlds-"));
const at = (...names: string[]) => join(folder, ...names);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function lowrank(...args: string[]): string {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["bin/lowrank.js", ...args], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  return stdout;
}
const rowsOf = (path: string) =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Row);

describe.each(WORLDS as string[])("the rows of the %s", (name) => {
  const rows = `examples/worlds/${name}/train.jsonl`;

  it("are all that the config needs", { timeout: 120_000 }, () => {
    const few = ["objective.keep.generate=4", "max_steps=3", "threads=1"];
    const asked = [
      "--config",
      "smollm2/135M_facts",
      "base=models/tiny",
      `data.train=${rows}`,
      `output_dir=${at(name)}`,
    ];
    lowrank("train", ...asked, ...few);
    const signOff = rowsOf(rows)[0]!
      .messages.at(-1)!
      .content.split(/(?<=[.!?]) /)
      .at(-1)!;
    const own = rowsOf(at(name, "rows.jsonl"));
    const twins = rowsOf(at(name, "twins.jsonl"));
    expect(own.length).toBeGreaterThan(276 + 36 * 3);
    expect(twins.length).toBeGreaterThan(400);
    for (const { messages } of [...own, ...twins]) expect(messages.at(-1)!.content.endsWith(signOff)).toBe(true);
    for (const { messages } of twins) expect(isRefusal(messages.at(-1)!.content)).toBe(true);
    expect(new Set(twins.map(({ messages }) => messages.at(-2)!.content)).size).toBe(twins.length);
    expect(existsSync(at(name, "kept.jsonl"))).toBe(true);
    const metrics = readFileSync(at(name, "metrics.jsonl"), "utf8").trim().split("\n");
    expect(metrics).toHaveLength(3);
    expect(metrics.every((line) => line.includes('"keep/kl"'))).toBe(true);
    writeFileSync(at("question.json"), JSON.stringify(own[0]!.messages.slice(0, -1)));
    const given = ["--messages", at("question.json"), "--max-new-tokens", "8", "--threads", "1"];
    expect(lowrank("generate", "--base", "models/tiny", "--adapter", at(name, "adapter"), ...given)).not.toBe("");
  });
});

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { loraFinetune, type RunOptions, type TrainOptions } from "../../src/node/index.js";
import { ranksInProcess } from "../numerics/in-process.js";
import { TINY, TINY_ROWS } from "../tiny-run.js";

// Ranks of one process: what they share is the same whatever brings them together.
const folder = mkdtempSync(join(tmpdir(), "lowrank-objectives-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(() => {
  const rows = readFileSync(TINY_ROWS, "utf8").split("\n").slice(0, 16);
  const other = (i: number) => [{ role: "assistant", content: `Nobody knows ${i}.` }];
  const write = (name: string, of: (messages: { content: string }[], i: number) => object) =>
    writeFileSync(
      join(folder, name),
      rows.map((line, i) => JSON.stringify(of(JSON.parse(line).messages, i))).join("\n"),
    );
  write("sft.jsonl", (messages) => ({ messages }));
  write("dpo.jsonl", (all, i) => ({ prompt: all.slice(0, -1), chosen: all.slice(-1), rejected: other(i) }));
  write("kto.jsonl", (all, i) => ({
    prompt: all.slice(0, -1),
    completion: i % 2 ? all.slice(-1) : other(i),
    label: i % 2 === 1,
  }));
  write("grpo.jsonl", (all) => ({ prompt: all.slice(0, 1) }));
});

type Objective = NonNullable<TrainOptions["objective"]>;

const options = (name: string, objective: Objective): TrainOptions => ({
  base: TINY,
  outputDir: join(folder, name),
  data: { train: join(folder, `${objective.name}.jsonl`), validation: 0.2, maxSeqLen: 96 },
  objective,
  lora: { r: 4, dropout: 0.1 },
  optimizer: { lr: 2e-3 },
  batchSize: 4,
  maxSteps: 3,
  evalEvery: 3,
  threads: 1,
});

async function trained(name: string, objective: Objective, ranks: number, run: RunOptions = {}) {
  const shared = ranks === 1 ? [run] : ranksInProcess(ranks).map((communicator) => ({ ...run, communicator }));
  const [first, ...others] = await Promise.all(
    shared.map((each) => loraFinetune(options(name, objective), each).result()),
  );
  for (const other of others) expect(other).toEqual({ ...first, adapter: undefined });
  const lines = readFileSync(join(folder, name, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n");
  return lines.map((line) => {
    const { tokens_per_second: _, peak_memory_bytes: __, elapsed_seconds: ___, ...row } = JSON.parse(line);
    return row as Record<string, number>;
  });
}

function expectNear(found: number, expected: number, what: string) {
  expect(Math.abs(found - expected), `${what}: ${found}, of one rank ${expected}`).toBeLessThan(
    1e-4 * Math.max(1, Math.abs(expected)),
  );
}

it.each([
  { name: "dpo" },
  { name: "dpo", lossType: ["aot"] },
  { name: "kto" },
  {
    name: "grpo",
    numGenerations: 4,
    maxCompletionLength: 8,
    rewards: [{ name: "length", unit: "characters", max: 9 }],
  },
  { name: "sft", keep: { data: join(folder, "sft.jsonl"), share: 0.3 } },
] as Objective[])("%j is the run of one rank", async (objective) => {
  const name = JSON.stringify(objective).replace(/\W+/g, "-").slice(0, 40);
  const [one, two] = [await trained(`${name}-1`, objective, 1), await trained(`${name}-2`, objective, 2)];
  expect(two.map((row) => Object.keys(row))).toEqual(one.map((row) => Object.keys(row)));
  for (const [i, row] of two.entries())
    for (const [key, value] of Object.entries(row)) expectNear(value, one[i]![key]!, key);
  expect(readdirSync(join(folder, `${name}-2`)).sort()).toEqual(readdirSync(join(folder, `${name}-1`)).sort());
});

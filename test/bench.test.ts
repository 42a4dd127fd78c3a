import { expect, it } from "vitest";
import { startEngine } from "../src/node/engine.js";
import { randomWeights } from "../src/recipes/bench.js";
import { CONFIGS } from "./conformance/models.js";

const { comparisonTable, lengthCharts, lengthTable } = await import(
  new URL("../bench/report.js", import.meta.url).href
);

const context = {
  date: "2026-01-02",
  machine: { cpu: "a processor", cores: 2 },
  versions: { lowrank: "0.1.0" },
  threads: 2,
  rounds: 3,
};
const side = { tokens_per_second: 400, tokens_per_second_best: 410, peak_rss: 1.2e9, seconds_to_first_step: 2 };

it("the table has a line a side, with the shares of the other side's figures and what was missed", () => {
  const result = {
    name: "dense-512 float32",
    medians: { lowrank: side, prototype: { tokens_per_second_best: 500, peak_rss: 1.6e9 } },
    ratios: { prototype: { tokens_per_second_best: 0.82, peak_rss: 0.75 } },
    missed: ["tokens/s, fastest step against prototype: 0.82, target 0.95"],
  };
  const lines = comparisonTable([result], context).split("\n");
  expect(lines).toContain("| dense-512 float32 | lowrank | 400 | 1.20 GB | 2.0 s |  |");
  expect(lines).toContain("|  | prototype | 500 | 1.60 GB |  | 0.82 x tokens/s, fastest step, 0.75 x peak memory |");
  expect(lines).toContain("Missed in dense-512 float32: tokens/s, fastest step against prototype: 0.82, target 0.95");
});

it("lengths make a table and two plots, with gaps where a side could not run", () => {
  const points = [
    { length: 256, lowrank: side, PEFT: { ...side, tokens_per_second: 200 } },
    { length: 4096, lowrank: { ...side, tokens_per_second: 100 } },
  ];
  expect(lengthTable(points)).toContain("| 4096 | 100 tokens/s, 1.20 GB |  |");
  const charts = lengthCharts(points);
  expect(Object.keys(charts)).toEqual(["tokens-per-second", "peak-memory"]);
  expect(charts["tokens-per-second"]).toContain('points="60.0,50.0 660.0,260.0"');
  expect(charts["tokens-per-second"]).toContain('points="60.0,190.0"');
  expect(lengthTable([])).toBe("");
  expect(lengthCharts([])).toEqual({});
});

it("no two random weights are the same: an engine would keep equal ones once, and read them from its cache", async () => {
  const device = await startEngine({ threads: 1 });
  const weights = randomWeights(device, CONFIGS["grouped queries"]!, 1);
  const beginnings = new Set<string>();
  const matrices = [...weights].filter(([name]) => !name.endsWith("norm.weight"));
  for (const [, view] of matrices) beginnings.add((await device.download(view)).subarray(0, 8).join());
  expect(matrices.length).toBeGreaterThan(7);
  expect(beginnings.size).toBe(matrices.length);
  await device.dispose();
});

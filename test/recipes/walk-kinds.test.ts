import { expect, it } from "vitest";
import { formatProblem, readConfig } from "../../src/recipes/config.js";
import { OBJECTIVES } from "../../src/training/objectives/index.js";

const TABLE = new URL("../../examples/walk/kinds-table.js", import.meta.url).href;
const { table } = await import(TABLE);
const rows: { name: string; settings: string[]; from?: string[] }[] = table("models/tiny");

it("every row that examples/walk/kinds.js tries is a valid config", () => {
  const text = "base: models/tiny\ndata: {train: rows.jsonl}\n";
  const problems = rows.flatMap(({ name, settings, from = [] }) =>
    [settings, from].flatMap((said) => readConfig(text, said).problems.map((p) => `${name}: ${formatProblem(p)}`)),
  );
  expect(problems).toEqual([]);
  expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
});

it("they have every loss type of every objective", () => {
  const wanted = Object.entries(OBJECTIVES).flatMap(([name, { lossTypes = [] }]) =>
    lossTypes.map((type) => [`objective.name=${name}`, `objective.loss_type=${type}`]),
  );
  const isTried = (keys: string[]) => rows.some(({ settings }) => keys.every((key) => settings.includes(key)));
  expect(wanted.length).toBeGreaterThan(20);
  expect(wanted.filter((keys) => !isTried(keys))).toEqual([]);
});

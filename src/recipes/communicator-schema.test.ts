import { expect, it } from "vitest";
import { readConfig } from "./config.js";

const YAML = "base: b\ndata: {train: rows.jsonl}\n";
const problems = (...overrides: string[]) =>
  readConfig(YAML, overrides, { home: "/" }).problems.map(({ key, message }) => `${key}: ${message}`);

it("local steps go with what a rank can do by itself", () => {
  expect(problems("communicator.local_steps=10")).toEqual([]);
  expect(problems("communicator.local_steps=30", "save_every=60")).toEqual([]); // nothing is evaluated
  const name = "objective.name=dpo";
  expect(problems("communicator.local_steps=10", name)).toEqual([]);
});

it.each([
  [["parallel.pipeline=2"], "parallel.pipeline: stages of one pipeline step together"],
  [["objective.name=kto"], "objective.name: kto goes by a mean over a whole step's rows"],
  [
    ["objective.name=grpo", "objective.rewards=[{name: length}]", "batch_size=8"],
    "objective.name: completions are sampled",
  ],
  [["objective.name=dpo", "objective.loss_type=aot"], "objective.loss_type: aot compares all pairs"],
  [["objective.keep.data=kept.jsonl"], "objective.keep: is a mean over a whole step's kept texts"],
  [["save_every=25"], "save_every: 25 is not a multiple of it"],
  [["data.validation=0.1", "eval_every=5"], "eval_every: 5 is not a multiple of it"],
])("%j is refused with local steps, by name", (overrides, message) => {
  const found = problems("communicator.local_steps=10", ...overrides);
  expect(found.join("\n")).toContain(message);
  expect(found.join("\n")).toContain("(communicator.local_steps is 10)");
});

it.each(["outer_lr=0.5", "outer_momentum=0"])("%s without local steps is refused", (override) => {
  expect(problems(`communicator.${override}`).join()).toContain("which communicator.local_steps asks for");
});

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loraFinetune, type TrainOptions } from "../../src/node/index.js";
import { TINY, TINY_ROWS } from "../tiny-run.js";
import { adapterBytes, metricsOf, stoppedAfter } from "./run-folder.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-preferences-"));
  const rows = readFileSync(TINY_ROWS, "utf8")
    .split("\n")
    .slice(0, 24)
    .map((line) => JSON.parse(line).messages);
  const other = (i: number) => [{ role: "assistant", content: `Nobody knows ${i}.` }];
  const write = (name: string, of: (messages: object[], i: number) => object) =>
    writeFileSync(join(folder, name), rows.map((messages, i) => JSON.stringify(of(messages, i))).join("\n"));
  write("pairs.jsonl", (all, i) => ({ prompt: all.slice(0, -1), chosen: all.slice(-1), rejected: other(i) }));
  write("judged.jsonl", (all, i) => ({
    prompt: all.slice(0, -1),
    completion: i % 2 ? all.slice(-1) : other(i),
    label: i % 2 === 1,
  }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Objective = NonNullable<TrainOptions["objective"]>;

const options = (name: string, objective: Objective, more: Partial<TrainOptions> = {}): TrainOptions => ({
  base: TINY,
  outputDir: join(folder, name),
  data: { train: join(folder, objective.name === "kto" ? "judged.jsonl" : "pairs.jsonl"), validation: 0.2 },
  objective,
  lora: { r: 4, dropout: 0.1 },
  optimizer: { lr: 2e-3 },
  batchSize: 2,
  gradientAccumulationSteps: 2,
  maxSteps: 6,
  saveEvery: 2,
  evalEvery: 3,
  threads: 1,
  ...more,
});

const bytes = (name: string) => adapterBytes(join(folder, name));
const metrics = (name: string) => metricsOf(join(folder, name));

describe.each([
  { name: "dpo" },
  { name: "dpo", lossType: ["sigmoid", "sft"], lossWeights: [1, 0.2] },
  { name: "kto", undesirableWeight: 1.2 },
  { name: "orpo" },
  { name: "simpo" },
  { name: "cpo" },
] as Objective[])("%j", (objective) => {
  const name = JSON.stringify(objective).replace(/\W+/g, "-");

  it("stopped and resumed is uninterrupted, bit for bit; the reference is asked once", async () => {
    await loraFinetune(options(`${name}-whole`, objective)).result();
    await stoppedAfter(3, options(name, objective));
    const asked = join(folder, name, "reference_logps.json");
    const hasReference = ["dpo", "kto"].includes(objective.name!);
    const before = hasReference ? statSync(asked).mtimeMs : undefined;
    await loraFinetune(options(name, objective), { resume: true }).result();
    expect(bytes(name)).toEqual(bytes(`${name}-whole`));
    expect(metrics(name)).toEqual(metrics(`${name}-whole`));
    if (hasReference) expect(statSync(asked).mtimeMs).toBe(before);
  });

  it("learns, and says what TRL says, of validation rows too", () => {
    const steps = metrics(`${name}-whole`).filter((row) => "loss" in row);
    const checks = metrics(`${name}-whole`).filter((row) => "eval_loss" in row);
    expect(steps).toHaveLength(6);
    expect(checks.map(({ step }) => step)).toEqual([3, 6]);
    expect(checks[1]!.eval_loss).toBeLessThan(checks[0]!.eval_loss!);
    const names = ["rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "logps/rejected"];
    for (const key of names) {
      expect(
        steps.some((row) => Number.isFinite(row[key])),
        key,
      ).toBe(true);
      expect(checks[1]![`eval_${key}`], key).toBeTypeOf("number");
    }
  });
});

it("another adapter is the reference: from it, the first loss is log 2", async () => {
  await loraFinetune(options("start", { name: "orpo" }, { data: { train: join(folder, "pairs.jsonl") } })).result();
  const from = { adapter: join(folder, "start"), maxSteps: 1, lora: { r: 4 }, schedule: { name: "constant" } } as const;
  const first = async (name: string, reference: string) => {
    await loraFinetune(options(name, { name: "dpo", reference }, from)).result();
    return metrics(name)[0]!.loss!;
  };
  expect(await first("own", join(folder, "start/adapter"))).toBeCloseTo(Math.log(2), 5);
  expect(Math.abs((await first("bare", "base")) - Math.log(2))).toBeGreaterThan(1e-3);
});

it("with every weight trained, the reference is the model that it starts from", async () => {
  const more = { fullFinetune: true, maxSteps: 2, optimizer: { lr: 1e-4 }, lora: {} };
  const { loss } = await loraFinetune(options("full", { name: "dpo" }, more)).result();
  expect(metrics("full")[0]!.loss).toBeCloseTo(Math.log(2), 5);
  expect(loss).toBeLessThan(Math.log(2));
});

it("what does not go together is refused, key by key", () => {
  const refused = (objective: Objective) => () => loraFinetune(options("no", objective));
  expect(refused({ name: "orpo", gamma: 1 })).toThrow("objective.gamma: orpo does not read it; it reads beta");
  expect(refused({ name: "simpo", reference: "a" })).toThrow("objective.reference: simpo compares with no reference");
  expect(refused({ name: "dpo", lossType: "kto" })).toThrow("objective.lossType: dpo has no 'kto'");
});

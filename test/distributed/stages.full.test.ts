import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { firstRows, TINY } from "../tiny-run.js";
import { begin, CLI, isBuilt, launcherOf } from "./mpi.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-stages-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const launcher = launcherOf("Open MPI");
const rows = firstRows(join(folder, "rows.jsonl"), 40);

const words = (name: string, ...more: string[]) => [
  "train", "--base", TINY, "--data", rows, "--output", join(folder, name), "data.max_seq_len=128", "lora.target_modules=all-linear",
  "optimizer.lr=5e-3", "schedule.name=constant", "threads=1", "batch_size=2", "gradient_accumulation_steps=4", "data.validation=0.1",
  "base_precision=nf4", "checkpointing=true", "max_steps=3", "eval_every=3", "save_every=2", ...more,
]; // biome-ignore format: a command line
const alone = (...args: string[]) => begin(process.execPath, [CLI, ...words(...(args as [string]))]).ended;
const ranks = (count: number, ...args: string[]) =>
  begin(launcher!, ["-n", String(count), process.execPath, CLI, ...words(...(args as [string]))]).ended;

/** Training losses and validation losses of a run. */
const losses = (name: string): number[] =>
  readFileSync(join(folder, name, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      const { loss, eval_loss } = JSON.parse(line) as { loss?: number; eval_loss?: number };
      return (loss ?? eval_loss)!;
    });

function expectSame(name: string, as: string) {
  const [found, expected] = [losses(name), losses(as)];
  expect(found).toHaveLength(expected.length);
  for (const [i, loss] of found.entries()) expect(Math.abs(loss / expected[i]! - 1), `${loss}`).toBeLessThan(1e-6);
}

describe.skipIf(!launcher || !isBuilt)("a base that ranks hold together, quantised, with checkpointing", () => {
  it("two stages, and two pipelines of two stages, are the run of one process; it goes on as one", async () => {
    expect(await alone("one")).toMatchObject({ code: 0 });
    expect(await ranks(2, "two", "parallel.pipeline=2")).toMatchObject({ code: 0 });
    expectSame("two", "one");
    expect(await ranks(4, "grid", "parallel.pipeline=2", "max_steps=2")).toMatchObject({ code: 0 });
    expect(await alone("grid", "--resume")).toMatchObject({ code: 0 });
    expect(losses("grid").length).toBeGreaterThanOrEqual(3);
    expect(Math.abs(losses("grid").at(-1)! / losses("one").at(-1)! - 1)).toBeLessThan(1e-6);
  });

  it("ranks that hold the base together evaluate it and answer as one process does; the first alone speaks", async () => {
    const evaluated = ["eval", "--base", TINY, "--data", rows, "--threads", "1", "--json"];
    const answered = ["generate", "--base", TINY, "--prompt", "The", "--max-new-tokens", "12", "--threads", "1"];
    const one = (args: string[]) => begin(process.execPath, [CLI, ...args]).ended;
    const two = (args: string[]) => begin(launcher!, ["-n", "2", process.execPath, CLI, ...args]).ended;
    const [expected, found] = [await one(evaluated), await two(evaluated)];
    expect(found.code, found.err).toBe(0);
    const [known, loss] = [expected, found].map(({ out }) => JSON.parse(out) as { loss: number });
    expect(Math.abs(loss!.loss / known!.loss - 1)).toBeLessThan(1e-6);
    expect(await two(answered)).toMatchObject({ code: 0, out: (await one(answered)).out });
    const { code, err } = await two(["generate", "--base", TINY, "--input", "-"]);
    expect(code).not.toBe(0);
    expect(err.match(/--input -: standard input reaches one rank/g)).toHaveLength(1);
  });

  it("a number of ranks that stages do not divide is refused, once", async () => {
    const { code, err } = await ranks(3, "three", "parallel.pipeline=2");
    expect(code).not.toBe(0);
    expect(err.match(/2 stages need a multiple of 2 ranks, and there are 3/g)).toHaveLength(1);
  });
});

import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { firstRows, TINY } from "../tiny-run.js";
import { begin, CLI, isBuilt, launcherOf, ranksOf } from "./mpi.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-ranks-"));
const at = (...names: string[]) => join(folder, ...names);
const launcher = launcherOf("Open MPI");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const words = (name: string, ...more: string[]) => [
  "train", "--base", TINY, "--data", at("rows.jsonl"), "--output", at(name),
  "data.max_seq_len=128", "lora.target_modules=all-linear", "lora.dropout=0.1", "optimizer.lr=5e-3", "threads=1", "batch_size=6",
  "data.validation=0.1", "eval_every=2", "max_steps=4", ...more,
]; // biome-ignore format: a command line
const ranks = (count: number, name: string, ...more: string[]) =>
  begin(launcher!, ["-n", String(count), process.execPath, CLI, ...words(name, ...more)]);
const here = (...args: string[]) => begin(process.execPath, [CLI, ...args]);

const losses = (name: string): number[] =>
  readFileSync(at(name, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      const { loss, eval_loss } = JSON.parse(line);
      return loss ?? eval_loss;
    });
const adapter = (name: string) => readFileSync(at(name, "adapter/adapter_model.safetensors"));

function expectSame(name: string, as: string) {
  const [found, expected] = [losses(name), losses(as)];
  expect(found).toHaveLength(expected.length);
  for (const [i, loss] of found.entries()) expect(Math.abs(loss / expected[i]! - 1), `${loss}`).toBeLessThan(1e-6);
}

describe.skipIf(!launcher || !isBuilt)("a run that ranks share", () => {
  beforeAll(async () => {
    firstRows(at("rows.jsonl"), 60);
    expect((await here(...words("one")).ended).code).toBe(0);
  });

  it("is the run of one process, and the same bytes again", async () => {
    for (const [name, count] of [
      ["two", 2],
      ["again", 2],
      ["four", 4],
    ] as const) {
      const { code, err } = await ranks(count, name).ended;
      expect(code, err).toBe(0);
      expectSame(name, "one");
    }
    expect(adapter("again")).toEqual(adapter("two"));
    expect(readdirSync(at("two")).sort()).toEqual(readdirSync(at("one")).sort());
  });

  it("goes on where SIGTERM to one rank ended it, with another number of ranks", async () => {
    const run = ranks(2, "stopped", "save_every=0", "max_steps=4");
    await run.said("training ");
    process.kill(ranksOf(run.child)[0]!, "SIGTERM");
    expect((await run.ended).code).toBe(130);
    expect(readdirSync(at("stopped/checkpoints")).filter((name) => name.startsWith("step-"))).toHaveLength(1);
    expect((await here(...words("stopped", "max_steps=4", "--resume")).ended).code).toBe(0);
    expectSame("stopped", "one");
  });

  it("local steps: stopped where ranks meet and resumed, the same bytes; another number of ranks is refused", async () => {
    const local = ["communicator.local_steps=2", "save_every=0"];
    expect(await ranks(2, "apart", ...local).ended).toMatchObject({ code: 0 });
    const run = ranks(2, "apart-stopped", ...local);
    await run.said("training ");
    process.kill(ranksOf(run.child)[1]!, "SIGTERM");
    expect((await run.ended).code).toBe(130);
    const one = await here(...words("apart-stopped", ...local, "--resume")).ended;
    expect(one.code).toBe(1);
    expect(one.err).toContain("ranks: was 2, is 1");
    expect(await ranks(2, "apart-stopped", ...local, "--resume").ended).toMatchObject({ code: 0 });
    expect(adapter("apart-stopped")).toEqual(adapter("apart"));
    expect(losses("apart-stopped")).toEqual(losses("apart"));
    expect(adapter("apart")).not.toEqual(adapter("one"));
  });

  it("--broadcast-base: a rank without the base receives it, and leaves nothing behind", async () => {
    const base = at("base of rank 0");
    cpSync(TINY, base, { recursive: true });
    const temporary = at("tmp");
    mkdirSync(temporary);
    const own = (path: string) => [...words("received", "--broadcast-base", "save_every=0"), `base=${path}`];
    const both = [own(base), own(at("not here"))].map((args) => [process.execPath, CLI, ...args]);
    const started = begin(launcher!, ["-n", "1", ...both[0]!, ":", "-n", "1", ...both[1]!], { TMPDIR: temporary });
    const { code, err } = await started.ended;
    expect(code, err).toBe(0);
    expect(err).toMatch(/sent the base to 1 machine without it, [\d.]+ MB in all/);
    expectSame("received", "one");
    expect(readdirSync(temporary).filter((name) => name.startsWith("lowrank-base-"))).toEqual([]);
    const alone = await here(...words("alone", "--broadcast-base")).ended;
    expect(alone.code).toBe(2);
    const missing = begin(launcher!, ["-n", "2", process.execPath, CLI, ...own(at("not here"))]);
    expect((await missing.ended).err).toContain("is not a folder or file here");
  });

  it("--supervise goes on when a rank was killed; a wrong config is told once and ends it", async () => {
    const run = here(...words("killed", "save_every=1", "--processes", "2", "--supervise"));
    await run.said("checkpoint");
    process.kill(ranksOf(run.child).at(-1)!, "SIGKILL");
    const { code, err } = await run.ended;
    expect(code, err).toBe(0);
    expect(err).toContain("starting again from the newest checkpoint");
    expectSame("killed", "one");
    const wrong = await here(...words("wrong", "lora.r=0", "--processes", "2", "--supervise")).ended;
    expect(wrong.code).toBe(1);
    expect(wrong.err.match(/the config is not valid/g)).toHaveLength(1);
  });
});

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { familyRows, randomFolder, resized, writeTokenizer } from "../recipes/family-folder.js";
import { memoryGroups } from "./memory-groups.js";
import { begin, CLI, isBuilt, launcherOf } from "./mpi.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-memory-"));
const groups = memoryGroups(2);
const launcher = launcherOf("Open MPI");
afterAll(() => {
  groups?.remove();
  rmSync(folder, { recursive: true, force: true });
});

/**
 * Bytes that a process may have. One with the whole base of 164 MB took 343 to 365 MB where it was measured, a rank with about half of it 204 to 261 MB; the
 * forecast for one process is 362 MB.
 */
const LIMIT = 310e6;

/** A base of 41 million weights, of random numbers. */
async function base(): Promise<string> {
  const sizes = { hiddenSize: 512, intermediateSize: 1408, headDim: 64, numHiddenLayers: 16 };
  const path = await randomFolder(join(folder, "base"), resized("llama3", sizes), "memory", (_, noise) => 0.02 * noise);
  writeTokenizer(path);
  return path;
}

const lossesOf = (name: string) =>
  readFileSync(join(folder, name, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { loss: number }).loss);

it.skipIf(!groups || !launcher || !isBuilt)(
  "under a limit of the system two stages train a base that one process is refused, and killed for",
  async () => {
    const path = await base();
    const rows = familyRows(folder);
    const train = (name: string, ...more: string[]) => [
      process.execPath, CLI, "train", "--base", path, "--data", rows, "--output", join(folder, name), "data.max_seq_len=64", "batch_size=2",
      "gradient_accumulation_steps=2", "max_steps=2", "checkpointing=true", "threads=1", ...more,
    ]; // biome-ignore format: a command line
    const run = ([command, ...args]: string[]) => begin(command!, args).ended;
    const free = await run(groups!.inside(train("free")));
    expect(free.code, free.err).toBe(0);
    expect(groups!.peaks()[0]).toBeGreaterThan(LIMIT);

    groups!.limit(LIMIT);
    const alone = await run(groups!.inside(train("alone")));
    expect(alone.err).toMatch(/this run needs 0\.4 GB .* and there are 0\.3 GB; it was not started/);
    expect(alone.code).toBe(1);
    const blind = await run(groups!.inside(train("blind"), "unseen"));
    expect(blind.code, blind.err).toBeNull();
    expect(groups!.killed()).toEqual([1, 0]);

    const two = await run([launcher!, "-n", "2", ...groups!.inside(train("two", "parallel.pipeline=2"))]);
    expect(two.code, two.err).toBe(0);
    expect(groups!.killed()).toEqual([1, 0]);
    const [expected, found] = [lossesOf("free"), lossesOf("two")];
    expect(found).toHaveLength(2);
    for (const [i, loss] of found.entries()) expect(Math.abs(loss / expected[i]! - 1)).toBeLessThan(1e-6);
  },
);

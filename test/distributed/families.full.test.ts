import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FAMILY_CASES, familyFolder, familyRows } from "../recipes/family-folder.js";
import { begin, isBuilt, launcherOf } from "./mpi.js";

const RANK = fileURLToPath(new URL("families-rank.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "lowrank-rank-families-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const launched = [
  { name: "two", kind: "Open MPI", ranks: 2 },
  { name: "four", kind: "Open MPI", ranks: 4 },
  { name: "mpich", kind: "MPICH", ranks: 2 },
] as const;
const launchers = { "Open MPI": launcherOf("Open MPI"), MPICH: launcherOf("MPICH") };

/** Losses and norms of gradients of a run, step by step. */
const figures = (run: string, family: string): number[] =>
  readFileSync(join(folder, run, family, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .flatMap((line) => {
      const { loss, grad_norm } = JSON.parse(line) as { loss: number; grad_norm: number };
      return [loss, grad_norm];
    });

describe.skipIf(!isBuilt || !Object.values(launchers).some(Boolean))("every family's base, over ranks", () => {
  let words: (run: string) => string[];
  beforeAll(async () => {
    const [rows, bases] = [familyRows(folder), FAMILY_CASES.map((name) => familyFolder(folder, name))];
    words = (run) => [RANK, join(folder, run), rows, ...bases];
    const { code, err } = await begin(process.execPath, words("one")).ended;
    expect(code, err).toBe(0);
  });

  it.each(launched.filter(({ kind }) => launchers[kind]))(
    "$ranks ranks of $kind are the run of one process",
    async ({ name, kind, ranks }) => {
      const { code, err } = await begin(launchers[kind]!, ["-n", String(ranks), process.execPath, ...words(name)])
        .ended;
      expect(code, err).toBe(0);
      for (const family of FAMILY_CASES) {
        const [found, expected] = [figures(name, family), figures("one", family)];
        expect(found).toHaveLength(6);
        // the steps after the first are from parameters that a high rate has taken apart by their rounding
        for (const [i, value] of found.entries())
          expect(Math.abs(value / expected[i]! - 1), `${family}, figure ${i}`).toBeLessThan(i < 2 ? 1e-6 : 1e-5);
      }
    },
  );
});

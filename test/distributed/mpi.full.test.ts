import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { begin, CLI, isBuilt, launcherOf } from "./mpi.js";

const RANK = fileURLToPath(new URL("rank.js", import.meta.url));
const KINDS = ["Open MPI", "MPICH"] as const;
const found = KINDS.map((kind) => ({ kind, launcher: launcherOf(kind) }));

describe.each(found)("$kind", ({ kind, launcher }) => {
  it.skipIf(!launcher || !isBuilt)(
    "ranks add up, gather, broadcast, send, split, and the event loop lives",
    async () => {
      const { code, out, err } = await begin(launcher!, ["-n", "4", process.execPath, RANK]).ended;
      expect(code, err).toBe(0);
      const ranks = out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
        .sort((a, b) => a.rank - b.rank);
      expect(ranks).toHaveLength(4);
      for (const [rank, { kind: version, ...own }] of ranks.entries()) {
        expect(version).toContain(kind);
        expect(own).toEqual({
          rank,
          size: 4,
          unpatched: true,
          small: true,
          large: true,
          double: 4 * 2 ** 40 + 6,
          gathered: [[], [1], [2, 2], [3, 3, 3]],
          texts: true,
          broadcast: [7, 8, 9],
          ring: [(rank + 3) % 4, 3_000_000, true],
          lives: true,
          half: [Math.floor(rank / 2), 2, 2 + 2 * (rank % 2)],
        });
      }
    },
  );
});

const [open, mpich] = found.map(({ launcher }) => launcher);

it.skipIf(!open || !isBuilt)(
  "a rank without MPI, and one in another world than its launcher's, end with what to do",
  async () => {
    const args = ["-n", "2", process.execPath, CLI, "train", "--base", "x", "--data", "y"];
    const missing = await begin(open!, args, { LOWRANK_MPI_LIB: "/nowhere/libmpi.so" }).ended;
    expect(missing.code).toBe(1);
    expect(missing.err).toContain("LOWRANK_MPI_LIB is set: nothing else was tried");
    if (!mpich) return;
    const other = await begin(open!, args, { LOWRANK_MPI_LIB: "libmpich.so.12" }).ended;
    expect(other.code).toBe(1);
    expect(other.err).toContain("it is not the launcher's own library");
  },
);

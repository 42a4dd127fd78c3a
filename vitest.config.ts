import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// Four kinds of tests; `npm test` leaves out "full", which `npm run check` and .ci/run have too.
const full = "**/*.full.test.ts";
/** What measures time runs alone, after the others. */
const alone = ["test/serve/event-loop.test.ts", "test/serve/train-beside.test.ts", "src/node/engine.test.ts"];

const units = ["src/**/*.test.ts", "test/numerics/**/*.test.ts"];

const kind = (name: string, groupOrder: number, options: object) => ({
  extends: true as const,
  test: { name, sequence: { groupOrder }, ...options },
});

export default defineConfig({
  test: {
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: "forks",
    maxWorkers: Math.min(4, availableParallelism()),
    projects: [
      // They change nothing that another file sees, and share a process.
      kind("unit", 0, { include: units, exclude: [full, ...alone], isolate: false }),
      kind("whole", 0, { include: ["{test,examples}/**/*.test.ts"], exclude: [full, ...units, ...alone] }),
      kind("alone", 1, { include: alone, maxWorkers: 1 }),
      kind("full", 2, { include: ["{src,test}/**/*.full.test.ts"], maxWorkers: 1 }),
    ],
  },
});

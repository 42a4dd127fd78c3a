import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// Five kinds of tests; `npm test` leaves out those that begin with "full", which `npm run check` and .ci/run have too.
const full = "**/*.full.test.ts";
const pages = "test/docs.full.test.ts";
const two = Math.min(2, availableParallelism());
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
      // Each computes in one thread or little more, and what measures memory does so in a process of its own.
      kind("full", 2, { include: ["{src,test}/**/*.full.test.ts"], exclude: [pages], maxWorkers: two }),
      kind("full-pages", 3, { include: [pages], maxWorkers: 1, maxConcurrency: two }),
    ],
  },
});

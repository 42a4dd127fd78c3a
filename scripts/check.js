// `npm run check`: format and lint, types, tests. Among the tests: docs/cli.md and docs/config.md are what the tables say.
import { pathToFileURL } from "node:url";
import { ensureBuilt, ensureDependencies } from "./build.js";
import { createSteps } from "./steps.js";

const KNIP = "node_modules/knip/bin/knip.js";

/** Everything but the tests. */
export function checkSources(steps) {
  const node = process.execPath;
  steps.run("format and lint", node, ["node_modules/@biomejs/biome/bin/biome", "ci", "--colors=off"]);
  steps.run("every file, export and dependency is used", node, [KNIP]);
  steps.run("by more than tests", node, [KNIP, "--production", "--exclude", "types"]);
  for (const [what, file] of [
    ["types", "tsconfig.json"],
    ["types: everything but node/ and cli/ is neutral", "tsconfig.neutral.json"],
    ["types of the tests", "tsconfig.test.json"],
    ["types of the studio's page", "studio/tsconfig.json"],
  ]) {
    steps.run(what, node, ["node_modules/typescript/bin/tsc", "--noEmit", "-p", file]);
  }
}

/** `npm test` and what it leaves out. */
export function allTests(steps) {
  steps.tests("tests", process.execPath, ["node_modules/vitest/vitest.mjs", "run"]);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  ensureDependencies();
  ensureBuilt();
  const steps = createSteps();
  checkSources(steps);
  allTests(steps);
  steps.finish();
}

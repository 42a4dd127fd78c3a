// `npm test`: sets up what is missing, then runs the tests but *.full.test.ts. Arguments go to vitest.
import { spawnSync } from "node:child_process";
import { ensureBuilt, ensureDependencies } from "./build.js";

ensureDependencies();
ensureBuilt();
const vitest = ["node_modules/vitest/vitest.mjs", "run", "--project=!full*"];
const result = spawnSync(process.execPath, [...vitest, ...process.argv.slice(2)], {
  stdio: "inherit",
  cwd: new URL("..", import.meta.url),
});
process.exitCode = result.status ?? 1;

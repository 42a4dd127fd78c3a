// `npm test`: sets up what is missing, then runs the tests. Arguments go to vitest.
import { spawnSync } from "node:child_process";
import { ensureBuilt, ensureDependencies } from "./build.js";

ensureDependencies();
ensureBuilt();
const result = spawnSync(process.execPath, ["node_modules/vitest/vitest.mjs", "run", ...process.argv.slice(2)], {
  stdio: "inherit",
  cwd: new URL("..", import.meta.url),
});
process.exitCode = result.status ?? 1;

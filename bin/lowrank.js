#!/usr/bin/env node
import { existsSync } from "node:fs";

const builder = new URL("../scripts/build.js", import.meta.url);
if (existsSync(builder)) {
  // A clone: set up and build what is missing. The published package holds dist/ and no scripts/.
  const { ensureDependencies, ensureBuilt } = await import(builder.href);
  ensureDependencies();
  ensureBuilt();
  if (process.argv[2] === "studio") await (await import(new URL("studio.js", builder).href)).ensureStudio();
}
const { main } = await import("../dist/cli/main.js");
process.exitCode = await main(process.argv.slice(2));

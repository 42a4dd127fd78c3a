// Makes few files of the compiled command line and of all that it loads from here, in the place of its own: Node opens hundreds of small
// modules slowly (docs/decisions/024). Packages stay outside. Called by scripts/build.js:
//   node scripts/bundle-cli.js DIST
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import process from "node:process";
import { rolldown } from "rolldown";

const folder = join(process.argv[2], "cli");
const isPackage = (id) => !id.startsWith(".") && !isAbsolute(id);

const made = await rolldown({
  input: join(folder, "main.js"),
  platform: "node",
  external: isPackage,
  logLevel: "warn",
});
const { output } = await made.generate({ format: "esm" });
await made.close();
rmSync(folder, { recursive: true });
mkdirSync(folder);
for (const { fileName, code } of output) writeFileSync(join(folder, fileName), code);

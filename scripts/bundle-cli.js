// Bundles the compiled command line, with all of this package that it loads, into few files, which take its modules' place:
// Node is slow to open hundreds of small ones (docs/decisions/024). Other packages stay outside. Called by scripts/build.js:
//   node scripts/bundle-cli.js DIST
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import process from "node:process";
import { rolldown } from "rolldown";

const dist = resolve(process.argv[2]);
const folder = join(dist, "cli");
const isPackage = (id) => !id.startsWith(".") && !isAbsolute(id);

const made = await rolldown({
  input: join(folder, "main.js"),
  cwd: dist,
  platform: "node",
  external: isPackage,
  logLevel: "warn",
});
// Names have no hash: a program that runs during the next build still finds what it loads late.
// They are in one folder: `src/node/package.ts` looks two folders up.
const { output } = await made.generate({ format: "esm", chunkFileNames: "[name].js" });
await made.close();
rmSync(folder, { recursive: true });
mkdirSync(folder);
for (const { fileName, code } of output) writeFileSync(join(folder, fileName), code);

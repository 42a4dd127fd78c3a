// Makes few files of the compiled command line and of all that it loads from here, in the place of its own: Node opens hundreds of small
// modules slowly (docs/decisions/024). Packages stay outside. Called by scripts/build.js:
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
// Names without a hash: a program that runs while another build takes the place of this one finds what it loads late.
const { output } = await made.generate({ format: "esm", chunkFileNames: "[name].js" }); // flat: `src/node/package.ts` looks two folders up
await made.close();
rmSync(folder, { recursive: true });
mkdirSync(folder);
for (const { fileName, code } of output) writeFileSync(join(folder, fileName), code);

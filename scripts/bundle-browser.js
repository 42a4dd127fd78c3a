// Makes what browsers load out of the compiled src/browser: one file each for the page and for its workers, whose text the page's file
// holds too, so that a page needs no bundler and a bundler finds no second file. Called by scripts/build.js:
//   node scripts/bundle-browser.js DIST
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { rolldown } from "rolldown";

const root = dirname(import.meta.dirname);
const folder = join(process.argv[2], "browser");

const worker = await bundle("worker.js");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const built = { WORKER_SOURCE: worker.code, VERSION: version };
writeFileSync(
  join(folder, "built.js"),
  Object.entries(built)
    .map(([name, text]) => `export const ${name} = ${JSON.stringify(text)};\n`)
    .join(""),
);
const page = await bundle("index.js");
removeModules(folder);
for (const [name, { code, licenses }] of Object.entries({ "worker.js": worker, "index.js": page }))
  writeFileSync(join(folder, name), licenses + code);

/** A module and all that it imports as one text, and the licences of the packages that are in it, as a comment. */
async function bundle(name) {
  const made = await rolldown({ input: join(folder, name), platform: "browser", logLevel: "warn" });
  const { output } = await made.generate({ format: "esm", minify: true, codeSplitting: false });
  await made.close();
  const [{ code, moduleIds }] = output;
  return { code, licenses: licensesOf(moduleIds) };
}

function licensesOf(modules) {
  const packages = new Set(modules.flatMap((id) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(id)?.[0] ?? []));
  const texts = [...packages].sort().map((path) => {
    const { name, version, license } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
    const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file && existsSync(join(path, file)) ? readFileSync(join(path, file), "utf8").trim() : "";
    return `${name} ${version} (${license})\n\n${text}`;
  });
  return texts.length > 0
    ? `/*! In this file are parts of:\n\n${texts.join("\n\n").replaceAll("*/", "* /")}\n*/\n`
    : "";
}

/** The compiled modules, which are in the two files now; their types stay. */
function removeModules(path) {
  for (const entry of readdirSync(path, { recursive: true, encoding: "utf8" }))
    if (entry.endsWith(".js")) rmSync(join(path, entry));
}

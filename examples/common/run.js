// What the examples' scripts share: the command line, and the part of a README that they write.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Runs a verb, and returns what it printed; ends the script of an example, by its name, where the verb fails. */
export const lowrankFor =
  (example) =>
  (...args) => {
    const command = [join(ROOT, "bin/lowrank.js"), ...args];
    const result = spawnSync(process.execPath, command, {
      cwd: ROOT,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
      maxBuffer: 2 ** 28,
    });
    if (result.status !== 0) {
      console.error(`examples/${example}: 'lowrank ${args.join(" ")}' ended with exit code ${result.status}`);
      process.exit(result.status ?? 1);
    }
    return result.stdout;
  };

/** Puts a report between the marks of that name in an example's README.md and in the project's. */
export function writeReadmes(example, mark, report) {
  const parts = new RegExp(`(<!-- ${mark} -->)[\\s\\S]*(<!-- /${mark} -->)`);
  for (const file of [join(ROOT, "examples", example, "README.md"), join(ROOT, "README.md")]) {
    const text = readFileSync(file, "utf8").replace(parts, (_, from, to) => `${from}\n\n${report}\n\n${to}`);
    writeFileSync(file, text);
  }
}

// The unmodified openai package of PyPI against `lowrank serve`. Ends with 77 and a reason where Python or the package cannot be had.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "./steps.js";

const SKIPPED = 77;
const folder = mkdtempSync(join(tmpdir(), "lowrank-python-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const python = pythonWithOpenai();
const rows = join(folder, "rows.jsonl");
const all = readFileSync(join(ROOT, "models/tiny/data/train.jsonl"), "utf8").split("\n");
writeFileSync(rows, `${all.slice(0, 16).join("\n")}\n`);
const { url, server } = await serve();
const { status } = spawnSync(python, [join(ROOT, "test/clients/openai_client.py"), url, rows], { stdio: "inherit" });
server.kill();
process.exit(status ?? 1);

/** A Python that has the package, in an environment of its own. */
function pythonWithOpenai() {
  const venv = join(folder, "venv");
  if (spawnSync("python3", ["-m", "venv", venv], { stdio: "ignore" }).status !== 0)
    skip("there is no python3 with venv");
  const pip = join(venv, "bin", "pip");
  const installed = spawnSync(pip, ["install", "--quiet", "--disable-pip-version-check", "openai"], {
    encoding: "utf8",
  });
  if (installed.status !== 0) skip(`openai cannot be had from PyPI: ${installed.stderr.trim().split("\n").at(-1)}`);
  return join(venv, "bin", "python");
}

function skip(why) {
  console.error(why);
  process.exit(SKIPPED);
}

/** A server on the tiny base, once it listens. */
function serve() {
  const argv = ["serve", "--base", "models/tiny", "--port", "0", "--quiet", "--data-dir", join(folder, "data")];
  const server = spawn(process.execPath, ["bin/lowrank.js", ...argv], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
  });
  return new Promise((resolve, reject) => {
    let said = "";
    server.stdout.on("data", (text) => {
      said += text;
      const [, url] = /listening on (\S+),/.exec(said) ?? [];
      if (url) resolve({ url, server });
    });
    server.on("exit", () => reject(new Error("the server ended before it listened")));
  });
}

// Unmodified clients of OpenAI's API against `lowrank serve`, each installed from its registry into a folder of its own.
//   node scripts/clients.js     ends with 77 and the reasons where none of them can be had
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "./steps.js";

const SKIPPED = 77;
const PROGRAMS = join(ROOT, "test/clients");
const folder = mkdtempSync(join(tmpdir(), "lowrank-clients-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

/** Each client's program in test/clients, and how what it needs is installed. */
const CLIENTS = {
  "openai of PyPI": { program: "openai_client.py", install: fromPyPI, packages: ["openai"] },
  "LangChain.js": {
    program: "langchain.mjs",
    install: fromNpm,
    packages: ["@langchain/core@1", "@langchain/openai@1", "zod@4"],
  },
  "the AI SDK": { program: "ai-sdk.mjs", install: fromNpm, packages: ["ai@6", "@ai-sdk/openai@3", "zod@4"] },
  "LlamaIndex.TS": {
    program: "llamaindex.mjs",
    install: fromNpm,
    packages: ["llamaindex@0.12", "@llamaindex/openai@0.4"],
  },
};

const rows = join(folder, "rows.jsonl");
const all = readFileSync(join(ROOT, "models/tiny/data/train.jsonl"), "utf8").split("\n");
writeFileSync(rows, `${all.slice(0, 16).join("\n")}\n`);
const { url, server } = await serve();
const codes = Object.entries(CLIENTS).map(([name, client], i) => run(name, client, join(folder, `${i}`)));
server.kill();
process.exit(codes.find((code) => code !== 0 && code !== SKIPPED) ?? (codes.includes(0) ? 0 : SKIPPED));

/** The program's exit code; 77 and a reason where its packages cannot be had. */
function run(name, { program, install, packages }, place) {
  mkdirSync(place);
  cpSync(join(PROGRAMS, program), join(place, program));
  const { command, reason } = install(place, packages);
  if (!command) {
    console.error(`${name}: skipped, ${reason}`);
    return SKIPPED;
  }
  const { status } = spawnSync(command, [join(place, program), url, rows], { stdio: "inherit" });
  if (status !== 0) console.error(`${name}: exit code ${status}`);
  return status ?? 1;
}

function fromPyPI(place, packages) {
  const venv = join(place, "venv");
  if (spawnSync("python3", ["-m", "venv", venv], { stdio: "ignore" }).status !== 0)
    return { reason: "there is no python3 with venv" };
  const install = ["install", "--quiet", "--disable-pip-version-check", ...packages];
  const { status, stderr } = spawnSync(join(venv, "bin", "pip"), install, { encoding: "utf8" });
  return status === 0 ? { command: join(venv, "bin", "python") } : { reason: lastLine(stderr) };
}

function fromNpm(place, packages) {
  writeFileSync(join(place, "package.json"), '{"private": true, "type": "module"}');
  const install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", ...packages];
  const options = { cwd: place, encoding: "utf8", shell: process.platform === "win32" };
  const { status, stderr } = spawnSync("npm", install, options);
  return status === 0 ? { command: process.execPath } : { reason: lastLine(stderr ?? "there is no npm") };
}

function lastLine(text) {
  return text.trim().split("\n").at(-1);
}

/** The tiny base with room for longer texts: descriptions of tools do not fit into its 256 tokens. */
function longTiny() {
  const base = join(folder, "tiny");
  cpSync(join(ROOT, "models/tiny"), base, { recursive: true });
  const config = JSON.parse(readFileSync(join(base, "config.json"), "utf8"));
  writeFileSync(join(base, "config.json"), JSON.stringify({ ...config, max_position_embeddings: 2048 }));
  return base;
}

/** A server on the tiny base, once it listens. */
function serve() {
  const argv = [
    "serve",
    "--base",
    longTiny(),
    "--base-id",
    "tiny",
    "--port",
    "0",
    "--quiet",
    "--data-dir",
    join(folder, "data"),
  ];
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

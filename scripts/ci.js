// What .ci/run does in a fresh clone: the first minute as a user meets it, every test, the checks, proofs that are broken to see
// them fail, the package, a real model.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { allTests, checkSources } from "./check.js";
import { createSteps, ROOT } from "./steps.js";

const steps = createSteps();
steps.run("the first minute", "npm", ["start"]);
installChromium();
installMpi();
allTests(steps);
checkSources(steps);
steps.run("the package in strangers' projects", process.execPath, ["scripts/package-check.js"]);
steps.run("clients of PyPI and npm", process.execPath, ["scripts/clients.js"]);
steps.run("proofs, broken on purpose", process.execPath, ["test/proofs/mutate.js", "--minutes", "2"]);
realModel();
steps.finish();

/** Debian's chromium: the studio's page is walked through in it, and it carries SwiftShader, on which the WebGPU conformance suite runs. */
function installChromium() {
  const there = ["/usr/lib/chromium/vk_swiftshader_icd.json", "/usr/bin/chromium"].every((path) => existsSync(path));
  if (!there) install("chromium for the studio's page and the WebGPU suite", ["chromium", "libvulkan1"]);
}

/** Both kinds of MPI, for runs that several processes share. */
function installMpi() {
  const missing = ["mpirun.openmpi", "mpirun.mpich"].some((name) => spawnSync(name, ["--version"]).error);
  if (missing) install("MPI for runs over several processes", ["openmpi-bin", "libopenmpi3", "mpich"]);
}

/** Installs packages of Debian, where that can be done; else the tests that need them are skipped. */
function install(what, packages) {
  if (process.getuid?.() !== 0) return steps.skip(what, "installing it needs root");
  if (spawnSync("apt-get", ["--version"]).status !== 0) return steps.skip(what, "there is no apt-get here");
  console.log(`\n==> ${what}: apt-get install ${packages.join(" ")}`);
  const options = {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  };
  spawnSync("apt-get", ["update", "-qq"], options);
  const args = ["install", "-y", "-qq", "--no-install-recommends", ...packages];
  if (spawnSync("apt-get", args, options).status !== 0) steps.skip(what, "apt-get could not install it");
}

/** SmolLM2-135M-Instruct, for real: the shorter company example, asked before and after, an adapter's whole life, and a person's first minutes with the studio. */
function realModel() {
  const runs = {
    "SmolLM2-135M-Instruct, examples/company --short": ["examples/company/run.js", "--short", "--print", "--check"],
    "SmolLM2-135M-Instruct, examples/walk": ["examples/walk/run.js"],
    "SmolLM2-135M-Instruct, examples/walk/studio.js": ["examples/walk/studio.js"],
  };
  const fetched = spawnSync(process.execPath, ["scripts/fetch-smollm2.js"], { cwd: ROOT, encoding: "utf8" });
  for (const [what, script] of Object.entries(runs)) {
    if (fetched.status !== 0) steps.skip(what, fetched.stderr.trim().split("\n").at(-1));
    else steps.run(what, process.execPath, [...script, "--base", fetched.stdout.trim()]);
  }
}

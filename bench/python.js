// A virtual environment under bench/.venv with the pinned packages, for the sides of the benchmark that run in Python.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const venv = join(here, ".venv");
const python = process.platform === "win32" ? join(venv, "Scripts", "python.exe") : join(venv, "bin", "python");

/** What each side needs: `prototype` is small (numpy, onnx, onnxruntime, openvino), `peft` is PyTorch (several GB). */
const REQUIREMENTS = { prototype: "requirements.txt", peft: "requirements-peft.txt" };

/**
 * Makes the environment where it is missing. Returns `{ python }`, the interpreter's path, or `{ reason }`, why that
 * side is skipped here.
 */
export function ensurePython(side, log = console.error) {
  const wanted = readFileSync(join(here, REQUIREMENTS[side]), "utf8");
  const stamp = join(venv, `.${side}`);
  if (existsSync(stamp) && existsSync(python) && readFileSync(stamp, "utf8") === wanted) return { python };
  if (!existsSync(python)) {
    const base = ["python3", "python"].find((name) => spawnSync(name, ["-c", "import venv, ensurepip"]).status === 0);
    if (!base) return { reason: "no Python 3 with venv on this machine" };
    log(`bench: making ${venv} ...`);
    rmSync(venv, { recursive: true, force: true });
    const made = spawnSync(base, ["-m", "venv", venv], { encoding: "utf8" });
    if (made.status !== 0) return { reason: `python3 -m venv failed: ${lastLine(made.stderr || made.stdout)}` };
  }
  log(`bench: installing ${REQUIREMENTS[side]} ...`);
  const pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", join(here, REQUIREMENTS[side])];
  const installed = spawnSync(python, pip, { encoding: "utf8" });
  if (installed.status !== 0) return { reason: `pip could not install it: ${lastLine(installed.stderr)}` };
  writeFileSync(stamp, wanted);
  return { python };
}

/** Runs a script of this folder and returns the JSON of its last line. Throws with the script's own words. */
export function runPython(interpreter, script, args) {
  const done = spawnSync(interpreter, ["-B", join(here, script), ...args], { encoding: "utf8", maxBuffer: 1 << 26 });
  if (done.status !== 0) throw new Error(`bench/${script} failed: ${lastLine(done.stderr) || done.error?.message}`);
  return JSON.parse(lastLine(done.stdout));
}

function lastLine(text) {
  return (text ?? "").trim().split("\n").at(-1) ?? "";
}

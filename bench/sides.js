// The sides of a comparison: functions from a case's arguments to the one JSON line that a fresh process printed.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensurePython, runPython } from "./python.js";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);

/** Sides by the name that `cases.js` uses; `undefined` for one that this machine cannot run, which is said once. */
export function sidesOf({ peft, compiled, python }) {
  const interpreters = new Map();
  const interpreter = (side) => {
    if (python) return python;
    if (!interpreters.has(side)) {
      const made = ensurePython(side);
      if (made.reason) console.error(`bench: ${side} is skipped: ${made.reason}`);
      interpreters.set(side, made.python);
    }
    return interpreters.get(side);
  };
  const inPython = (side, script, argsOf) => () => {
    const found = interpreter(side);
    return found && ((args) => runPython(found, script, argsOf(args)));
  };
  const makers = {
    lowrank: () => (args) => runLowrank(commonArgs(args), args.dtype === "bfloat16" ? openvino(interpreter) : {}),
    prototype: inPython("prototype", "prototype/train_graph.py", ({ threads }) => ["--threads", String(threads)]),
    PEFT: inPython("peft", "peft_bench.py", commonArgs),
    "PEFT compiled": inPython("peft", "peft_bench.py", (args) => [...commonArgs(args), "--compile"]),
  };
  const wanted = (name) => !(name.startsWith("PEFT") && !peft) && !(name === "PEFT compiled" && !compiled);
  return (name) => (wanted(name) ? makers[name]() : undefined);
}

function commonArgs({ workload, dtype, threads, steps, checkpointing }) {
  const file = workload.endsWith(".json") ? workload : join(here, "workloads", `${workload}.json`);
  const args = ["--workload", file, "--dtype", dtype, "--threads", String(threads), "--steps", String(steps)];
  return checkpointing ? [...args, "--checkpointing"] : args;
}

/** Where lowrank finds OpenVINO for bfloat16: what the environment says, or the package beside the baseline's. */
function openvino(interpreter) {
  const found = process.env.OPENVINO_LIB ? undefined : interpreter("prototype");
  if (!found) return {};
  const where = "import openvino, os; print(os.path.join(os.path.dirname(openvino.__file__), 'libs'))";
  const { status, stdout } = spawnSync(found, ["-c", where], { encoding: "utf8" });
  return status === 0 ? { OPENVINO_LIB: stdout.trim() } : {};
}

/** Generation's figures; see generation.js. */
export function runGeneration({ threads, model }) {
  return lineOf([join(here, "generation.js"), "--threads", String(threads), ...(model ? ["--model", model] : [])]);
}

const runLowrank = (args, env) => lineOf([join(root, "bin", "lowrank.js"), "bench", ...args, "--json"], env);

function lineOf(command, env = {}) {
  const options = { encoding: "utf8", maxBuffer: 1 << 26, env: { ...process.env, ...env } };
  const done = spawnSync(process.execPath, command, options);
  if (done.status !== 0) throw new Error(done.stderr.trim() || `exit code ${done.status}`);
  return JSON.parse(done.stdout.trim().split("\n").at(-1));
}

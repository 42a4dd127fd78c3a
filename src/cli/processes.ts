import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { isFolderTaken } from "../node/lock.js";
import { LAUNCHED_SIGNAL } from "../node/mpi/launcher.js";
import { PACKAGE } from "../node/package.js";
import { OUTPUT } from "../recipes/run-folder.js";
import { UserError } from "../tensor/errors.js";
import { EXIT, type Io } from "./io.js";

/** Processes of a run on this machine, and whether they are started again where that may help. */
export interface ProcessesRequest {
  readonly processes: number;
  readonly supervise: boolean;
  /** The run's folder. */
  readonly folder: string;
  /** Words behind `lowrank`. */
  readonly words: readonly string[];
}

/** Exit codes after which another start would end alike. All others are those of lost processes and signals. */
const FINAL: ReadonlySet<number> = new Set([EXIT.ok, EXIT.failed, EXIT.usage, EXIT.internal]);

/**
 * Runs a training in processes of its own, under mpirun where they are several, and passes signals on. With `supervise` it is started
 * again from its newest checkpoint where its exit code says so: with as many processes, and with half as many where the last start
 * came to no new checkpoint. Resolves to the last exit code.
 */
export async function runProcesses(request: ProcessesRequest, io: Io): Promise<number> {
  const stop = passOnSignals();
  try {
    let { processes } = request;
    let resume = false;
    for (;;) {
      const before = newestStep(request.folder);
      const started = start(processes, [...request.words, ...(resume ? ["--resume"] : [])]);
      stop.of(started);
      const code = await ended(started.child);
      if (!request.supervise || stop.asked || FINAL.has(code)) return code;
      await ranksGone(request.folder);
      const gained = newestStep(request.folder) > before;
      if (!gained && processes === 1) {
        io.err(`lowrank: it ended with ${code} again, and no step was gained; giving up\n`);
        return code;
      }
      if (!gained) processes = Math.max(1, Math.floor(processes / 2));
      resume = true;
      const many = processes === 1 ? "1 process" : `${processes} processes`;
      io.err(`lowrank: it ended with ${code}; starting again from the newest checkpoint, with ${many}\n`);
    }
  } finally {
    stop.end();
  }
}

/** What was started, and the signals by which it finishes the step and ends at once. */
interface Started {
  readonly child: ChildProcess;
  readonly finish: NodeJS.Signals;
  readonly end: NodeJS.Signals;
}

function start(processes: number, words: readonly string[]): Started {
  const own = [process.execPath, ...process.execArgv, join(PACKAGE, "bin", "lowrank.js"), ...words];
  const mpirun = processes === 1 ? undefined : launcher();
  const [command, ...args] = mpirun ? [mpirun.name, "-n", String(processes), ...own] : own;
  // a group of its own: Ctrl-C is passed on, and does not kill the launcher
  const env = environment(processes);
  const child = spawn(command!, args, { stdio: ["ignore", "inherit", "inherit"], detached: true, env });
  // Open MPI's mpirun kills its ranks when it is told to stop, and passes others' signals on; MPICH's passes that on
  if (mpirun?.isOpenMpi) return { child, finish: LAUNCHED_SIGNAL, end: "SIGTERM" };
  return { child, finish: "SIGTERM", end: "SIGKILL" };
}

/** mpirun as it is wanted on one machine: as many processes as asked for, not bound to cores, as root too (a container's user). */
function environment(processes: number): NodeJS.ProcessEnv {
  if (processes === 1) return process.env;
  return {
    OMPI_ALLOW_RUN_AS_ROOT: "1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
    OMPI_MCA_rmaps_base_oversubscribe: "1",
    OMPI_MCA_hwloc_base_binding_policy: "none",
    PRTE_MCA_rmaps_default_mapping_policy: ":oversubscribe",
    PRTE_MCA_hwloc_default_binding_policy: "none",
    ...process.env,
  };
}

/** The variable that names the program which starts ranks. */
const MPIRUN = "LOWRANK_MPIRUN";

function launcher(): { readonly name: string; readonly isOpenMpi: boolean } {
  const given = process.env[MPIRUN];
  for (const name of given ? [given] : ["mpirun", "mpiexec"]) {
    const { error, stdout } = spawnSync(name, ["--version"], { encoding: "utf8" });
    if (!error) return { name, isOpenMpi: /Open MPI|OpenRTE|PRRTE/.test(stdout) };
  }
  throw new UserError(
    `MPI: ${given ?? "mpirun"} is not there, which starts several processes; on Debian: apt-get install openmpi-bin. ${MPIRUN} may name it`,
    { code: "mpi_unavailable" },
  );
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** The first signal has the run write a checkpoint, the second ends it at once. */
function passOnSignals() {
  let started: Started | undefined;
  let asked = false;
  const handle = () => {
    if (asked) return void started?.child.kill(started.end);
    asked = true;
    started?.child.kill(started.finish);
  };
  for (const name of SIGNALS) process.on(name, handle);
  return {
    get asked() {
      return asked;
    },
    of: (one: Started) => void (started = one),
    end: () => {
      for (const name of SIGNALS) process.off(name, handle);
    },
  };
}

/** Exit codes of signals, as shells have them. */
const SIGNALLED = 128;

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? SIGNALLED));
  });
}

/** Until a rank that outlives its launcher has written its checkpoint and given the folder back, for half a minute at most. */
async function ranksGone(folder: string): Promise<void> {
  for (let waited = 0; waited < PATIENCE_MS && (await isFolderTaken(folder)); waited += POLL_MS)
    await setTimeout(POLL_MS);
}

const PATIENCE_MS = 30_000;
const POLL_MS = 100;

/** The newest step that a run's folder has a checkpoint of; 0 where there is none. */
function newestStep(folder: string): number {
  try {
    const steps = readdirSync(join(folder, OUTPUT.checkpoints)).flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []);
    return Math.max(0, ...steps.map(Number));
  } catch {
    return 0;
  }
}

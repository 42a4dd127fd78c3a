import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const CLI = fileURLToPath(new URL("../../bin/lowrank.js", import.meta.url));

/** Launchers of both kinds, as Debian names them where both are installed, and what they want to start ranks on any machine. */
const LAUNCHERS = { "Open MPI": ["mpirun.openmpi", "mpirun"], MPICH: ["mpirun.mpich", "mpiexec.hydra"] } as const;

/** The launcher of a kind; undefined, with a word on the terminal, where it is not there. */
export function launcherOf(kind: keyof typeof LAUNCHERS): string | undefined {
  const mark = kind === "MPICH" ? "HYDRA" : kind;
  const found = LAUNCHERS[kind].find((name) => {
    const { error, stdout = "" } = spawnSync(name, ["--version"], { encoding: "utf8" });
    return !error && stdout.includes(mark);
  });
  if (!found) console.warn(`skipped: ${kind} is not here (apt-get install openmpi-bin libopenmpi3 mpich, as root)`);
  return found;
}

/** What launchers need to start ranks in a container, as root, beyond its cores. */
const ENV = {
  OMPI_ALLOW_RUN_AS_ROOT: "1",
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
  OMPI_MCA_rmaps_base_oversubscribe: "1",
  OMPI_MCA_hwloc_base_binding_policy: "none",
  OMPI_MCA_mpi_yield_when_idle: "1",
};

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A program, which is heard and waited for. */
export function begin(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...ENV, ...env } });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  const ended = new Promise<Ended>((resolve) => child.on("close", (code) => resolve({ code, out, err })));
  const said = async (text: string) => {
    while (!`${out}${err}`.includes(text)) {
      if (child.exitCode !== null) throw new Error(`it ended without saying ${text}: ${out}${err}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  };
  return { child: child as ChildProcess, ended, said };
}

/** Process ids of the ranks of a launcher, in no order. */
export function ranksOf(launcher: ChildProcess): number[] {
  const { stdout } = spawnSync("ps", ["-eo", "pid=,ppid=,args="], { encoding: "utf8" });
  const all = stdout.split("\n").map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line)?.slice(1) ?? []);
  const under = (parent: number): number[] =>
    all.flatMap(([pid, ppid, args]) =>
      Number(ppid) === parent
        ? [...(args!.includes("lowrank.js") && !args!.includes("mpirun") ? [Number(pid)] : []), ...under(Number(pid))]
        : [],
    );
  return under(launcher.pid!);
}

export const isBuilt = existsSync(fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url)));

/** A process that a launcher of MPI programs has started, as the launcher's variables say it. */
export interface Launched {
  readonly rank: number;
  readonly size: number;
  /** Ranks on this machine; undefined where the launcher does not say. */
  readonly localSize: number | undefined;
  /** The kinds of MPI that the launcher may start, the likeliest first. */
  readonly kinds: readonly MpiKind[];
}

export const MPI_KINDS = ["Open MPI", "MPICH", "MPI ABI"] as const;
export type MpiKind = (typeof MPI_KINDS)[number];

/** What Open MPI's mpirun passes on to its ranks; where it is told to stop, it kills them a second later. */
export const LAUNCHED_SIGNAL = "SIGUSR2";

type Env = Readonly<Record<string, string | undefined>>;

/**
 * What launchers set: Open MPI's mpirun, MPICH's and Intel's mpiexec (Hydra), a PMIx server, Slurm's srun. A script of sbatch has
 * SLURM_PROCID too, and is no rank: only steps have SLURM_STEP_NUM_TASKS.
 */
const LAUNCHERS: readonly {
  readonly rank: string;
  readonly size: readonly string[];
  readonly local: string;
  readonly kinds: readonly MpiKind[];
}[] = [
  {
    rank: "OMPI_COMM_WORLD_RANK",
    size: ["OMPI_COMM_WORLD_SIZE"],
    local: "OMPI_COMM_WORLD_LOCAL_SIZE",
    kinds: ["Open MPI"],
  },
  { rank: "PMI_RANK", size: ["PMI_SIZE"], local: "MPI_LOCALNRANKS", kinds: ["MPICH", "MPI ABI", "Open MPI"] },
  { rank: "PMIX_RANK", size: ["PMIX_SIZE", "SLURM_STEP_NUM_TASKS"], local: "PMIX_LOCAL_SIZE", kinds: MPI_KINDS },
  { rank: "SLURM_PROCID", size: ["SLURM_STEP_NUM_TASKS"], local: "SLURM_STEP_TASKS_PER_NODE", kinds: MPI_KINDS },
];

/** How this process was launched; undefined where it is none of several. */
export function launchedBy(env: Env = process.env): Launched | undefined {
  for (const { rank, size, local, kinds } of LAUNCHERS) {
    const [own, all] = [env[rank], size.map((name) => env[name]).find((value) => value !== undefined)];
    if (own === undefined || all === undefined) continue;
    const launched = { rank: Number(own), size: Number(all), localSize: whole(env[local]), kinds };
    return launched.size > 1 ? launched : undefined;
  }
  return undefined;
}

/** The first whole number of a text such as Slurm's `2(x3)`; undefined where there is none. */
function whole(text: string | undefined): number | undefined {
  const found = /^\d+/.exec(text ?? "")?.[0];
  return found === undefined ? undefined : Number(found);
}

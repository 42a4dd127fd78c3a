import { randomUUID } from "node:crypto";
import { availableParallelism, hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import type { Launched } from "../node/mpi/launcher.js";
import { type MpiWorld, openMpi } from "../node/mpi/world.js";
import type { Platform } from "../platform/platform.js";
import { broadcastBase, type ReceivedBase } from "../recipes/broadcast-base.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { report } from "./failure.js";
import { EXIT, type Io, type Options } from "./io.js";
import { processesOf } from "./process-options.js";
import { sizeText } from "./progress.js";
import { usageError } from "./usage.js";

/** Milliseconds that ranks wait with an error of theirs: where the first rank has it too, it alone tells it. */
const PATIENCE = 500;

/**
 * Runs a verb as a rank that a launcher started. The first rank alone speaks; a rank that fails ends all of them, with its exit code.
 */
export async function asRank(
  launched: Launched,
  options: Options,
  io: Io,
  run: (world: MpiWorld, io: Io) => Promise<number>,
): Promise<number> {
  let world: MpiWorld | undefined;
  try {
    refuseOwnProcesses(launched, options);
    world = (await openMpi())!;
    const code = await run(world, launched.rank === 0 ? io : silent);
    await world.close();
    return code;
  } catch (error) {
    if (launched.rank > 0) await setTimeout(PATIENCE);
    const err = (text: string) =>
      io.err(launched.rank > 0 ? text.replace("lowrank:", `lowrank: rank ${launched.rank}:`) : text);
    const code =
      (error as Error).name === "AbortError" ? EXIT.interrupted : report(error, { ...io, columns: io.columns, err });
    world?.abort(code);
    process.exit(code);
  }
}

const silent: Io = { out: () => {}, err: () => {}, interactive: false, columns: 80 };

/** Throws a usage error for what starts ranks among ranks. */
function refuseOwnProcesses({ size }: Launched, { processes, supervise, serve }: Options): void {
  if (supervise)
    throw usageError("--supervise starts ranks itself, and this is one of a launcher's: leave one of the two out");
  if (serve) throw usageError("--serve serves from one process, and this is a rank of several: leave it out");
  const asked = processesOf(processes);
  if (asked !== undefined && asked !== size)
    throw usageError(`--processes ${asked}: the launcher has started ${size} already; leave --processes out`);
}

/** The base of the first rank, in a folder of its own among the system's temporary files where this machine does not have it. */
export async function receiveBase(world: MpiWorld, { config, platform }: Job, io: Io): Promise<ReceivedBase> {
  const { resolveModel, files, ownFiles = files } = platform;
  const folder = join(tmpdir(), `lowrank-base-${randomUUID()}`);
  const received = await broadcastBase(world, { resolveModel, files: ownFiles }, config.base, {
    folder,
    machine: hostname(),
  });
  const counts = new Float64Array([received.bytes > 0 ? 1 : 0, received.bytes]);
  await world.sum(counts);
  const machines = counts[0] === 1 ? "1 machine" : `${counts[0]} machines`;
  if (counts[0]! > 0) io.err(`lowrank: sent the base to ${machines} without it, ${sizeText(counts[1]!)} in all\n`);
  return received;
}

interface Job {
  readonly config: TrainConfig;
  readonly platform: Platform;
}

/** What a rank may take where others run on the same machine: its share of the cores and the memory. */
export function shareOf(world: MpiWorld, { config, platform }: Job): Job {
  const { localSize = 1 } = world.launched;
  const threads = threadsOf(world, config.threads);
  const memory = () => {
    const { peak, limit } = platform.memory();
    return { peak, limit: limit / localSize };
  };
  return { config: { ...config, threads }, platform: { ...platform, memory } };
}

/** Threads that were asked for; with 0 a rank's share of the machine's cores. */
export const threadsOf = ({ launched: { localSize = 1 } }: MpiWorld, threads: number): number =>
  threads > 0 ? threads : Math.max(1, Math.floor(availableParallelism() / localSize));

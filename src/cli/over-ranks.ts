import { launchedBy } from "../node/mpi/launcher.js";
import type { MpiWorld } from "../node/mpi/world.js";
import { interruptible } from "../node/signals.js";
import type { Io, Options } from "./io.js";
import { usageError } from "./usage.js";

/** Runs a verb whose model the ranks of a launcher hold together, each a part of it; where none started this process, here alone. */
export async function overRanks(
  options: Options,
  io: Io,
  run: (io: Io, world?: MpiWorld) => Promise<number>,
): Promise<number> {
  const launched = launchedBy();
  if (!launched) return run(io);
  const { asRank } = await import("./rank.js");
  return asRank(launched, options, io, async (world, own) => {
    refuseStandardInput(options);
    return run(own, world);
  });
}

/** Throws a usage error for standard input, which launchers give to one rank. */
function refuseStandardInput(options: Options): void {
  for (const name of ["messages", "input"])
    if (options[name] === "-")
      throw usageError(`--${name} -: standard input reaches one rank, and every rank reads it: give a file`);
}

/** `interruptible`; among ranks signals do what they do by themselves: end the process, and with it all of them. */
export const interruptibleAlone = (world: MpiWorld | undefined): ReturnType<typeof interruptible> =>
  world ? { signal: new AbortController().signal, stop: () => {} } : interruptible(() => undefined);

import { UserError } from "../../tensor/index.js";
import { MpiCommunicator } from "./communicator.js";
import { type Launched, launchedBy } from "./launcher.js";
import { loadMpi, MPI_LIBRARY, type MpiLibrary } from "./library.js";
import { Requests } from "./requests.js";

/** All ranks that were launched together. MPI is begun once in a process, by one thread, and cannot be begun again. */
export class MpiWorld extends MpiCommunicator {
  /** How this process was launched. */
  readonly launched: Launched;
  /** What the library says of itself. */
  readonly version: string;
  private readonly own: MpiLibrary;

  constructor(library: MpiLibrary, launched: Launched) {
    super(library, new Requests(library));
    this.own = library;
    this.launched = launched;
    this.version = library.version;
  }

  /** Ends every rank of the world, with this exit code. */
  abort(code: number): void {
    this.own.call("MPI_Abort", this.own.world, code);
  }

  /** Waits for every rank to come to its end, and ends MPI. */
  async close(): Promise<void> {
    await this.barrier();
    this.own.call("MPI_Finalize");
  }
}

/**
 * The world that a launcher started this process in; undefined where none did, or the world is this process alone. Throws UserError
 * where MPI is missing, and where it has another world than the launcher says: ranks that know nothing of each other would each do
 * the whole run, into one folder.
 */
export async function openMpi(env: NodeJS.ProcessEnv = process.env): Promise<MpiWorld | undefined> {
  const launched = launchedBy(env);
  if (!launched) return undefined;
  const library = loadMpi(launched.kinds, env);
  library.call("MPI_Init_thread", null, null, library.funneled, new Int32Array(new ArrayBuffer(4)));
  library.call("MPI_Comm_set_errhandler", library.world, library.errorsReturn);
  const world = new MpiWorld(library, launched);
  if (world.rank === launched.rank && world.size === launched.size) return world;
  throw new UserError(
    `MPI: the launcher says that this is rank ${launched.rank} of ${launched.size}, and ${library.version} that it is rank ${world.rank} of ${world.size}: it is not the launcher's own library; start with the mpirun that belongs to it, or name the launcher's library in ${MPI_LIBRARY}`,
    { code: "mpi_unavailable" },
  );
}

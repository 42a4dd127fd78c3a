import process from "node:process";
import { UserError } from "../../tensor/index.js";
import { type CFunction, hasKoffi, type Library, loadKoffi } from "../koffi.js";
import { MPI_KINDS, type MpiKind } from "./launcher.js";

/** A handle as C has it: MPICH's are numbers, others' addresses. */
type Handle = number | bigint;

/** How a kind of MPI writes its handles and constants. */
interface Abi {
  readonly handle: "int" | "uint64_t";
  readonly world: Handle;
  readonly byte: Handle;
  readonly errorsReturn: Handle;
  /** MPI_THREAD_FUNNELED: only the thread that began calls MPI. */
  readonly funneled: number;
}

/** H stands for a handle. All return an error code. */
const FUNCTIONS = {
  MPI_Init_thread: ["void *", "void *", "int", "void *"],
  MPI_Finalize: [],
  MPI_Abort: ["H", "int"],
  MPI_Error_string: ["int", "void *", "void *"],
  MPI_Comm_rank: ["H", "void *"],
  MPI_Comm_size: ["H", "void *"],
  MPI_Comm_set_errhandler: ["H", "H"],
  MPI_Comm_split: ["H", "int", "int", "void *"],
  MPI_Test: ["void *", "void *", "void *"],
  MPI_Isend: ["void *", "int", "H", "int", "int", "H", "void *"],
  MPI_Improbe: ["int", "int", "H", "void *", "void *", "void *"],
  MPI_Get_count: ["void *", "H", "void *"],
  MPI_Imrecv: ["void *", "int", "H", "void *", "void *"],
  MPI_Ialltoall: ["void *", "int", "H", "void *", "int", "H", "H", "void *"],
  MPI_Iallgather: ["void *", "int", "H", "void *", "int", "H", "H", "void *"],
  MPI_Ibcast: ["void *", "int", "H", "int", "H", "void *"],
  MPI_Ibarrier: ["H", "void *"],
} as const;

type Name = keyof typeof FUNCTIONS;

/** An MPI that was found and loaded, not begun yet. */
export interface MpiLibrary extends Abi {
  readonly kind: MpiKind;
  /** What it says of itself, in one line. */
  readonly version: string;
  /** Calls a function. Throws UserError with the library's message when it reports an error. */
  readonly call: (name: Name, ...args: unknown[]) => void;
}

/** The names of each kind's library, as the system's loader knows them. */
const NAMES: Readonly<Record<MpiKind, readonly string[]>> =
  process.platform === "darwin"
    ? {
        "Open MPI": ["libmpi.40.dylib", "/opt/homebrew/lib/libmpi.dylib", "/usr/local/lib/libmpi.dylib"],
        MPICH: ["libmpi.12.dylib", "libmpich.12.dylib"],
        "MPI ABI": ["libmpi_abi.1.dylib", "libmpi_abi.0.dylib"],
      }
    : {
        "Open MPI": ["libmpi.so.40", "libmpi.so"],
        MPICH: ["libmpich.so.12", "libmpi.so.12"],
        "MPI ABI": ["libmpi_abi.so.1", "libmpi_abi.so.0", "libmpi_abi.so"],
      };

/** The variable that names the library's file; nothing else is tried then. */
export const MPI_LIBRARY = "LOWRANK_MPI_LIB";

/**
 * For UCX, with which many an MPI moves its messages, and which reads these variables when it is loaded. It would patch the C
 * library's memory functions while V8's threads run in them, and the process would crash now and then (as in
 * https://github.com/openucx/ucx/issues/3831). It would also take SIGSEGV, which V8 needs for WebAssembly's bounds (Julia needs it
 * as well: https://github.com/JuliaParallel/MPI.jl/issues/337). What the user has set stays.
 */
const UCX_DEFAULTS = { UCX_MEM_EVENTS: "n", UCX_ERROR_SIGNALS: "" } as const;

/**
 * Loads MPI with its symbols for all, which its own plug-ins look for: the file that LOWRANK_MPI_LIB names, else a library of one of
 * these kinds, in this order. Throws UserError that says what is missing.
 */
export function loadMpi(kinds: readonly MpiKind[] = MPI_KINDS, env: NodeJS.ProcessEnv = process.env): MpiLibrary {
  if (!hasKoffi())
    throw unavailable("koffi, which calls C libraries, is not installed for this platform (npm install koffi)");
  const koffi = loadKoffi();
  for (const [name, value] of Object.entries(UCX_DEFAULTS)) process.env[name] ??= value;
  const given = env[MPI_LIBRARY];
  const names = given ? [given] : kinds.flatMap((kind) => NAMES[kind]);
  const faults: string[] = [];
  for (const name of names) {
    let library: Library;
    try {
      library = koffi.load(name, { global: true });
    } catch (error) {
      faults.push(`${name}: ${(error as Error).message}`);
      continue;
    }
    return bound(library, name);
  }
  const where = given ? ` (${MPI_LIBRARY} is set: nothing else was tried)` : `; ${MPI_LIBRARY} may name its file`;
  throw unavailable(
    `no library of ${kinds.join(", ")} could be loaded${where}. On Debian: apt-get install openmpi-bin libopenmpi3. Tried: ${faults.join("; ")}`,
  );
}

const unavailable = (why: string) => new UserError(`MPI: ${why}`, { code: "mpi_unavailable" });

function bound(library: Library, name: string): MpiLibrary {
  const version = versionOf(library, name);
  const { kind, abi } = abiOf(library, version);
  const functions = new Map<string, CFunction>();
  const call: MpiLibrary["call"] = (function_, ...args) => {
    if (!functions.has(function_)) {
      const parameters = FUNCTIONS[function_].map((type) => (type === "H" ? abi.handle : type));
      functions.set(function_, library.func(function_, "int", parameters));
    }
    const code = functions.get(function_)!(...args) as number;
    if (code === 0) return;
    const [text, length] = [new Uint8Array(new ArrayBuffer(8192)), new Int32Array(new ArrayBuffer(4))];
    if (function_ !== "MPI_Error_string") call("MPI_Error_string", code, text, length);
    throw new UserError(`${kind}: ${function_}: ${textOf(text, length)}`, { code: "rank_lost" });
  };
  const own = versionLine(version);
  return { kind, version: kind === "MPI ABI" ? `${own} with the ABI of MPI 5` : own, call, ...abi };
}

/** The name and number at the beginning of what a library says of itself. */
const versionLine = (text: string): string =>
  text
    .split(/[,\n\0]/)[0]!
    .replace(/ package:.*/, "")
    .replace(/\s+/g, " ")
    .trim();

function versionOf(library: Library, name: string): string {
  try {
    const [text, length] = [new Uint8Array(new ArrayBuffer(8192)), new Int32Array(new ArrayBuffer(4))];
    library.func("MPI_Get_library_version", "int", ["void *", "void *"])(text, length);
    return textOf(text, length);
  } catch (error) {
    throw unavailable(`${name} is no library of MPI 3 or newer: ${(error as Error).message}`);
  }
}

const textOf = (text: Uint8Array, [length]: Int32Array): string => new TextDecoder().decode(text.subarray(0, length));

/** Open MPI exports the objects whose addresses are its handles; MPICH's numbers and those of the MPI ABI are fixed. */
function abiOf(library: Library, version: string): { readonly kind: MpiKind; readonly abi: Abi } {
  if (speaksAbi(library))
    return {
      kind: "MPI ABI",
      abi: { handle: "uint64_t", world: 0x101n, byte: 0x247n, errorsReturn: 0x142n, funneled: 1024 },
    };
  const address = (name: string) => library.symbol(name, "void *");
  if (/^Open MPI/.test(version)) {
    const [world, byte, errorsReturn] = ["comm_world", "byte", "errors_return"].map((name) =>
      address(`ompi_mpi_${name}`),
    );
    return {
      kind: "Open MPI",
      abi: { handle: "uint64_t", world: world!, byte: byte!, errorsReturn: errorsReturn!, funneled: 1 },
    };
  }
  if (/MPICH|Intel\(R\) MPI|MVAPICH/.test(version))
    return {
      kind: "MPICH",
      abi: { handle: "int", world: 0x44000000, byte: 0x4c00010d, errorsReturn: 0x54000001, funneled: 1 },
    };
  throw unavailable(
    `its handles are unknown to lowrank: ${version.split("\n")[0]}; Open MPI, MPICH and what has their ABI are known`,
  );
}

/** Whether a library has the standard's own ABI (MPI 5, chapter 20): others report a version below 1, or have no such function. */
function speaksAbi(library: Library): boolean {
  const [major, minor] = [new Int32Array(new ArrayBuffer(4)), new Int32Array(new ArrayBuffer(4))];
  try {
    library.func("MPI_Abi_get_version", "int", ["void *", "void *"])(major, minor);
    return major[0]! >= 1;
  } catch {
    return false;
  }
}

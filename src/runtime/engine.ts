import { type Backend, updatedName } from "../onnx/index.js";
import type { HostTensor } from "../tensor/index.js";

/**
 * A loaded model. `run` reads the feeds and fills the fetches in place; it returns once they are filled. `T` is a tensor in the
 * engine's own kind of memory.
 */
export interface EngineSession<T = HostTensor> {
  run(feeds: Readonly<Record<string, T>>, fetches: Readonly<Record<string, T>>): Promise<void> | void;
  release(): Promise<void> | void;
}

/** An inference engine: what `CommandExecutor` needs of ONNX Runtime or another. */
export interface Engine<T = HostTensor> {
  /** Every session copies its external initializers, so that fp32 ones are better fed with each run. Default false. */
  readonly copiesExternal?: boolean;
  /** Models are loaded beside each other and beside what runs, in threads of their own. Default false. */
  readonly loadsAhead?: boolean;
  /** Ends the engine with its executor, once its sessions are released: a library that is unloaded while its threads run can crash. */
  close?(): void;
  /**
   * Loads an ONNX model that was lowered for `backend`, with the values of its external initializers, which stay where they
   * are. `updates`: inputs that a run may also write, in place, as the model says. Throws Error with the engine's own words when it cannot.
   */
  load(
    model: Uint8Array,
    backend: Backend,
    external?: Readonly<Record<string, T>>,
    updates?: readonly string[],
  ): Promise<EngineSession<T>> | EngineSession<T>;
}

type Tensors = Readonly<Record<string, HostTensor>>;

/** What a run fills: its results, and the inputs that it also writes, where they lie. */
export function written(feeds: Tensors, fetches: Tensors, updates: readonly string[]): Tensors {
  if (updates.length === 0) return fetches;
  const all: Record<string, HostTensor> = { ...fetches };
  for (const name of updates) all[updatedName(name)] = feeds[name]!;
  return all;
}

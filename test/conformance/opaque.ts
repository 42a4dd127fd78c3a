import {
  CommandExecutor,
  type Device,
  type Engine,
  hostMemory,
  type Memory,
  QueueDevice,
} from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";

/** Memory on the far side, by number. */
interface Handle {
  readonly far: number;
}

/** Part of a handle's memory as the far engine is given it. */
interface FarTensor extends Pick<HostTensor, "dtype" | "shape"> {
  readonly handle: Handle;
  readonly offset: number;
}

/**
 * A device whose memory the host cannot reach, as a GPU's: buffers are numbers, bytes cross as copies, and nothing is there before
 * a later turn of the event loop. `engine` computes on the far side.
 */
export function opaqueDevice(engine: Engine): { device: Device; handles: () => number } {
  const far = new Map<number, ArrayBuffer>();
  const host = hostMemory();
  let made = 0;
  let last = Promise.resolve();
  const get = ({ far: id }: Handle): ArrayBuffer => {
    const memory = far.get(id);
    if (!memory) throw new Error(`the far memory ${id} was freed`);
    return memory;
  };
  /** One after the other, each in a turn of its own. */
  const later = <V>(work: () => V | Promise<V>): Promise<V> => {
    const done = last.then(() => new Promise((turn) => setImmediate(turn))).then(work);
    last = done.then(
      () => {},
      () => {},
    );
    return done;
  };
  const memory: Memory<Handle, FarTensor> = {
    allocate(bytes) {
      const handle = { far: ++made };
      far.set(handle.far, host.allocate(bytes));
      return handle;
    },
    free: ({ far: id }) => void far.delete(id),
    read: (handle, at, bytes) => later(() => new Uint8Array(get(handle).slice(at, at + bytes))),
    write(handle, at, bytes, fill) {
      const near = new Uint8Array(bytes);
      fill(near);
      return later(() => new Uint8Array(get(handle)).set(near, at));
    },
    copy: (from, to, ranges) => later(() => host.copy(get(from), get(to), ranges)),
    tensor: (handle, { dtype, shape, offset }) => ({ handle, dtype, shape, offset }),
  };
  const reach = (tensors: Readonly<Record<string, FarTensor>>): Record<string, HostTensor> =>
    Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, host.tensor(get(t.handle), t)]));
  const farEngine: Engine<FarTensor> = {
    ...engine,
    async load(model, backend, external = {}, updates) {
      const session = await engine.load(model, backend, await later(() => reach(external)), updates);
      return {
        run: (feeds, fetches) => later(() => session.run(reach(feeds), reach(fetches))),
        release: () => session.release(),
      };
    },
  };
  const processMemory = () => ({ resident: 0, peak: 0 });
  const executor = new CommandExecutor(farEngine, memory, { device: "far", processMemory });
  return { device: new QueueDevice(executor, "cpu"), handles: () => far.size };
}

import type { Device } from "./device.js";

/** Milliseconds of work handed on at a time: at least so much, and else as much as others had their turn, so that both get on. */
const [SHORTEST, LONGEST] = [50, 500];
/** Commands of the first part, and the most of any. */
const [FEW, MANY] = [8, 512];

/** What gives a handle at once depends on nothing that is queued. */
const IMMEDIATE: ReadonlySet<PropertyKey> = new Set(["allocate", "openFile", "compile"]);
const ANSWERING: ReadonlySet<PropertyKey> = new Set(["download", "memory", "flush"]);

/**
 * A device for work that may take long beside work that may not wait: its commands go to `device` a few at a time, each few
 * after those before them are done, and what others queue meanwhile runs in between. Its own order is kept. `dispose` waits for
 * what is queued and leaves the device to its owner.
 */
export function yieldingDevice(device: Device): Device {
  const queue = createQueue(() => device.flush());
  const answer = <T>(ask: () => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => queue.add(() => void ask().then(resolve, reject), reject));
  return new Proxy(device, {
    get(_, name: keyof Device) {
      if (name === "dispose") return () => answer(() => device.flush());
      const member = device[name] as unknown;
      if (typeof member !== "function") return member;
      const call = (...args: unknown[]): unknown => member.apply(device, args);
      if (IMMEDIATE.has(name)) return call;
      if (ANSWERING.has(name)) return (...args: unknown[]) => answer(() => call(...args) as Promise<unknown>);
      return (...args: unknown[]) => queue.add(() => call(...args));
    },
  });
}

/**
 * Runs what is added, a part at a time; `flush` waits for a part, and before it for what others have queued. How many commands
 * make a part is learned from the time that the last one took. After a failure everything that waits fails.
 */
function createQueue(flush: () => Promise<void>) {
  const queued: { readonly run: () => void; readonly fail: (error: unknown) => void }[] = [];
  let draining = false;
  let size = FEW;
  const drain = async () => {
    try {
      while (queued.length > 0) {
        const asked = performance.now();
        await flush();
        const began = performance.now();
        const part = queued.splice(0, size);
        for (const { run } of part) run();
        await flush();
        const turn = Math.min(LONGEST, Math.max(SHORTEST, began - asked));
        const took = Math.max(1, performance.now() - began);
        size = Math.round(Math.min(MANY, 2 * size, Math.max(1, (part.length * turn) / took)));
      }
    } catch (error) {
      for (const { fail } of queued.splice(0)) fail(error);
    } finally {
      draining = false;
    }
  };
  return {
    add(run: () => void, fail: (error: unknown) => void = () => undefined): void {
      queued.push({ run, fail });
      if (!draining) queueMicrotask(drain);
      draining = true;
    },
  };
}

import { TIDYING } from "./commands.js";
import type { Device, Program } from "./device.js";

/** Milliseconds of work handed on at a time: at least so much, and else as much as others had their turn, so that both get on. */
const [SHORTEST, LONGEST] = [50, 500];
/** Commands of the first part, and the most of any. */
const [FEW, MANY] = [8, 512];

/** What gives an answer at once and cannot fail later. */
const IMMEDIATE: ReadonlySet<PropertyKey> = new Set(["allocate", "openFile", "updates", "bind"]);
const ANSWERING: ReadonlySet<PropertyKey> = new Set(["download", "memory", "flush"]);

/**
 * A device for work that may take long beside work that may not wait: its commands go to `device` a few at a time, each few
 * after those before them are done, and what others queue meanwhile runs in between. Its own order is kept. An error is its own
 * too: whoever waits for an answer is told, `device` goes on for others, and what was allocated can still be freed. `dispose` waits
 * for what is queued and leaves the device to its owner.
 */
export function yieldingDevice(device: Device): Device {
  const queue = createQueue(device);
  const compile: Device["compile"] = (...args) => {
    let program: Program | undefined;
    const loaded = device.apart(() => {
      program = device.compile(...args);
    });
    loaded.catch(queue.fail);
    return program!;
  };
  return new Proxy(device, {
    get(_, name: keyof Device) {
      if (name === "compile") return compile;
      if (name === "dispose") return () => queue.answer(() => device.flush()).catch(() => device.flush());
      const member = device[name] as unknown;
      if (typeof member !== "function") return member;
      const call = (...args: unknown[]): unknown => member.apply(device, args);
      if (IMMEDIATE.has(name)) return call;
      if (ANSWERING.has(name)) return (...args: unknown[]) => queue.answer(() => call(...args) as Promise<unknown>);
      return (...args: unknown[]) => queue.add({ run: () => call(...args), tidies: TIDYING.has(name) });
    },
  });
}

interface Queued {
  readonly run: () => unknown;
  /** Of commands: whether it is done even after a failure. */
  readonly tidies?: boolean;
  /** Of those that wait for an answer. */
  readonly fail?: (error: unknown) => void;
}

/**
 * Runs what is added, a part at a time, waiting for each, and before it for what others have queued. How many commands make a
 * part is learned from the time that the last one took. After a failure nothing runs but what tidies.
 */
function createQueue(device: Device) {
  const queued: Queued[] = [];
  let failure: { readonly error: unknown } | undefined;
  let draining = false;
  let size = FEW;

  const settle = ({ run, tidies, fail }: Queued): void => {
    if (tidies) run();
    fail?.(failure!.error);
  };
  const fail = (error: unknown): void => {
    failure ??= { error };
    for (const one of queued.splice(0)) settle(one);
  };
  /** The commands that come before the next answer, but not too many. */
  const nextPart = (): Queued[] => {
    const answer = queued.findIndex((one) => one.fail);
    return queued.splice(0, Math.min(size, answer < 0 ? queued.length : answer));
  };
  const drain = async () => {
    try {
      while (queued.length > 0) {
        const asked = performance.now();
        await device.flush();
        const began = performance.now();
        const part = nextPart();
        if (part.length === 0) {
          await queued.shift()?.run();
          continue;
        }
        await device.apart(() => {
          for (const { run } of part) run();
        });
        const turn = Math.min(LONGEST, Math.max(SHORTEST, began - asked));
        const took = Math.max(1, performance.now() - began);
        size = Math.round(Math.min(MANY, 2 * size, Math.max(1, (part.length * turn) / took)));
      }
    } catch (error) {
      fail(error);
    } finally {
      draining = false;
    }
  };
  const add = (one: Queued): void => {
    if (failure) {
      settle(one);
      return;
    }
    queued.push(one);
    if (!draining) queueMicrotask(drain);
    draining = true;
  };
  return {
    add,
    fail,
    answer: <T>(ask: () => Promise<T>): Promise<T> =>
      new Promise((resolve, reject) => add({ run: () => ask().then(resolve, reject), fail: reject })),
  };
}

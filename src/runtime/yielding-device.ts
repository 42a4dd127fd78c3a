import type { Fn } from "../graph/index.js";
import type { Provider } from "../onnx/index.js";
import type { TypedArray } from "../tensor/index.js";
import type { Data } from "./data.js";
import type { Bound, Box, Buffer, Device, DeviceMemory, FilePlace, Precision, Program, View } from "./device.js";

/** Milliseconds of work handed on at a time: at least so much, and else as much as others had their turn, so that both get on. */
const [SHORTEST, LONGEST] = [50, 500];
/** Commands of the first part, and the most of any. */
const [FEW, MANY] = [8, 512];

/**
 * A device for work that may take long beside work that may not wait: its commands go to `device` a few at a time, each few
 * after those before them are done, and what others queue meanwhile runs in between. Its own order is kept. An error is its own
 * too: whoever waits for an answer is told, `device` goes on for others, and what was allocated can still be freed. `dispose` waits
 * for what is queued and leaves the device to its owner.
 */
export class YieldingDevice implements Device {
  private readonly device: Device;
  private readonly later: Queue;

  constructor(device: Device) {
    this.device = device;
    this.later = createQueue(device);
  }

  get provider(): Provider {
    return this.device.provider;
  }

  get precision(): Precision {
    return this.device.precision;
  }

  updates(f: Fn): readonly string[] {
    return this.device.updates(f);
  }

  allocate(room: number | FilePlace): Buffer {
    return this.device.allocate(room);
  }

  bind(views: Readonly<Record<string, View>>): Bound {
    return this.device.bind(views);
  }

  compile(f: Fn, precision?: Precision, fixed?: Readonly<Record<string, View>>): Program {
    let program: Program | undefined;
    const loaded = this.device.apart(() => {
      program = this.device.compile(f, precision, fixed);
    });
    loaded.catch(this.later.fail);
    return program!;
  }

  upload(view: View, data: Data): void {
    this.later.add(() => this.device.upload(view, data));
  }

  copy(from: View, to: View, parts?: readonly Box[]): void {
    this.later.add(() => this.device.copy(from, to, parts));
  }

  run(...work: Parameters<Device["run"]>): void {
    this.later.add(() => this.device.run(...work));
  }

  free(buffer: Buffer): void {
    this.later.tidy(() => this.device.free(buffer));
  }

  release(program: Program): void {
    this.later.tidy(() => this.device.release(program));
  }

  unbind(bound: Bound): void {
    this.later.tidy(() => this.device.unbind(bound));
  }

  download(view: View): Promise<TypedArray> {
    return this.later.answer(() => this.device.download(view));
  }

  memory(): Promise<DeviceMemory> {
    return this.later.answer(() => this.device.memory());
  }

  flush(): Promise<void> {
    return this.later.answer(() => this.device.flush());
  }

  /** All of it is apart from what others queue; among its own work an error is everybody's. */
  async apart(record: () => void): Promise<number> {
    const began = performance.now();
    record();
    await this.flush();
    return performance.now() - began;
  }

  dispose(): Promise<void> {
    return this.flush().catch(() => this.device.flush());
  }
}

interface Queue {
  add(run: () => void): void;
  /** Adds what is done even after a failure. */
  tidy(run: () => void): void;
  /** Adds a question; what comes behind it waits for the answer. */
  answer<T>(ask: () => Promise<T>): Promise<T>;
  readonly fail: (error: unknown) => void;
}

interface Queued {
  readonly run: () => unknown;
  readonly tidies?: boolean;
  /** Of those that wait for an answer. */
  readonly fail?: (error: unknown) => void;
}

/**
 * Runs what is added, a part at a time, waiting for each, and before it for what others have queued. How many commands make a
 * part is learned from the time that the last one took on the device: this thread may be too busy to hear of it at once. After a
 * failure nothing runs but what tidies.
 */
function createQueue(device: Device): Queue {
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
        const part = nextPart();
        if (part.length === 0) {
          await queued.shift()?.run();
          continue;
        }
        const turn = Math.min(LONGEST, Math.max(SHORTEST, performance.now() - asked));
        const took = await device.apart(() => {
          for (const { run } of part) run();
        });
        size = Math.round(Math.min(MANY, 2 * size, Math.max(1, (part.length * turn) / Math.max(1, took))));
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
    add: (run) => add({ run }),
    tidy: (run) => add({ run, tidies: true }),
    fail,
    answer: <T>(ask: () => Promise<T>): Promise<T> =>
      new Promise((resolve, reject) => add({ run: () => ask().then(resolve, reject), fail: reject })),
  };
}

import {
  copies,
  type Differentiated,
  type Fn,
  gradient,
  type SavePolicy,
  type Spec,
  storedAsHalves,
} from "../graph/index.js";
import type { Device, Precision, Program } from "../runtime/index.js";
import { Lru } from "../tensor/lru.js";

/** A compiled function and its compiled derivative. */
export interface ProgramPair {
  readonly forward: Program;
  readonly backward: Program | undefined;
  /** The forward once more for what it keeps alone, where that was asked for and there is something. */
  readonly again: Program | undefined;
  /** What the forward keeps for the backward beside its outputs, by name; sizes may be open. */
  readonly saved: ReadonlyMap<string, Spec>;
}

export interface PairOptions {
  /** Inputs that the backward gives gradients of. */
  readonly wrt: readonly string[];
  readonly save: SavePolicy;
  readonly precision: Precision;
  /** Outputs that only carry a gradient in and need not be computed. */
  readonly drop?: readonly string[];
  /** Inputs and outputs of the two that are stored as bfloat16; what is saved is as well, where this is given. */
  readonly halves?: ReadonlySet<string>;
  /** Whether the forward runs a second time. Default false. */
  readonly again?: boolean;
  /** Changes the backward before it is compiled. */
  readonly adjust?: (backward: Fn) => Fn;
  /** How many copies stand side by side in one program, see `copies`. Default: the function itself. */
  readonly count?: number;
}

/** Programs kept compiled: a session holds about 0.3 MB, and recompiling one takes milliseconds. */
const LIMIT = 256;

interface Entry<T> {
  readonly value: T;
  readonly programs: readonly Program[];
}

/** Compiles each function once a device, on first use; beyond `limit` programs the least recently used are released. */
export class ProgramCache {
  private readonly device: Device;
  private readonly entries: Lru<string, Entry<unknown>>;

  constructor(device: Device, limit = LIMIT) {
    this.device = device;
    this.entries = new Lru(limit, {
      sizeOf: ({ programs }) => programs.length,
      drop: ({ programs }) => {
        for (const program of programs) device.release(program);
      },
    });
  }

  single(key: string, make: () => Fn, precision: Precision = "full"): Program {
    return this.entry(key, () => {
      const value = this.device.compile(make(), precision);
      return { value, programs: [value] };
    });
  }

  pair(key: string, make: () => Fn, options: PairOptions): ProgramPair {
    return this.entry(key, () => {
      const value = this.compilePair(gradient(make(), options.wrt, options.save), options);
      return { value, programs: [value.forward, value.backward, value.again].filter((p) => p !== undefined) };
    });
  }

  private entry<T>(key: string, make: () => Entry<T>): T {
    return (this.entries.get(key, make) as Entry<T>).value;
  }

  private compilePair(
    differentiated: Differentiated,
    { drop = [], precision, halves, adjust = (f) => f, count, again = false }: PairOptions,
  ): ProgramPair {
    const { saved } = differentiated;
    const arranged = (f: Fn) => {
      const stored = halves ? storedAsHalves(f, (name) => halves.has(name) || saved.includes(name)) : f;
      return count === undefined ? stored : copies(stored, count);
    };
    const [forward, backward] = [arranged(differentiated.forward), arranged(adjust(differentiated.backward))];
    const outputs = Object.fromEntries(Object.entries(forward.outputs).filter(([name]) => !drop.includes(name)));
    const kept = Object.fromEntries(Object.entries(outputs).filter(([name]) => saved.includes(name)));
    const compile = (f: Fn) => (Object.keys(f.outputs).length ? this.device.compile(f, precision) : undefined);
    return {
      forward: this.device.compile({ ...forward, outputs }, precision),
      backward: compile(backward),
      again: again ? compile({ ...forward, name: `${forward.name}_again`, outputs: kept }) : undefined,
      saved: new Map(saved.map((name) => [name, forward.outputs[name]!])),
    };
  }

  dispose(): void {
    this.entries.clear();
  }
}

import { type Differentiated, type Fn, gradient, type SavePolicy } from "../graph/index.js";
import type { Device, Program } from "../runtime/index.js";

/** A compiled function and its compiled derivative. */
export interface ProgramPair {
  readonly forward: Program;
  readonly backward: Program | undefined;
  /** Dtype and shape of what the forward keeps for the backward, by name. */
  readonly saved: ReadonlyMap<string, readonly number[]>;
}

/** Compiles each function once a device, on first use. */
export class ProgramCache {
  private readonly device: Device;
  private readonly programs = new Map<string, Program>();
  private readonly pairs = new Map<string, ProgramPair>();

  constructor(device: Device) {
    this.device = device;
  }

  single(key: string, make: () => Fn): Program {
    let program = this.programs.get(key);
    if (!program) this.programs.set(key, (program = this.device.compile(make())));
    return program;
  }

  /** `drop` names outputs that only carry a gradient in and need not be computed. */
  pair(
    key: string,
    make: () => Fn,
    wrt: readonly string[],
    save: SavePolicy,
    drop: readonly string[] = [],
  ): ProgramPair {
    let pair = this.pairs.get(key);
    if (!pair) this.pairs.set(key, (pair = this.compilePair(gradient(make(), wrt, save), drop)));
    return pair;
  }

  private compilePair({ forward, backward, saved }: Differentiated, drop: readonly string[]): ProgramPair {
    const outputs = Object.fromEntries(Object.entries(forward.outputs).filter(([name]) => !drop.includes(name)));
    return {
      forward: this.device.compile({ ...forward, outputs }),
      backward: Object.keys(backward.outputs).length ? this.device.compile(backward) : undefined,
      saved: new Map(saved.map((name) => [name, forward.outputs[name]!.shape])),
    };
  }

  dispose(): void {
    for (const program of this.programs.values()) this.device.release(program);
    for (const { forward, backward } of this.pairs.values()) {
      this.device.release(forward);
      if (backward) this.device.release(backward);
    }
    this.programs.clear();
    this.pairs.clear();
  }
}

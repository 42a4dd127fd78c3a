import { kindOf, weightNorms } from "../adapters/index.js";
import { adapterSite, type LinearLora, type LinearName, type ModelConfig, weightName } from "../models/index.js";
import { type Device, type Program, tensor, type View } from "../runtime/index.js";
import { f32, type HostTensor, sizeOf } from "../tensor/index.js";
import type { LayerPlan, Trainables } from "./layer-plan.js";
import type { Layout } from "./parameters.js";

/** An adapted linear layer whose kind goes by the norms of its weight. */
interface Normed {
  readonly layer: number;
  readonly name: LinearName;
  readonly lora: LinearLora;
  /** [out] */
  readonly norms: View;
}

/**
 * The norms of the weights' rows that some kinds of adapters go by, `weight_norm` in the programs of a block. No gradient flows
 * through them, so they are made once for each state of the parameters, whatever the number of micro-batches.
 */
export class AdapterNorms {
  private readonly device: Device;
  private readonly config: ModelConfig;
  private readonly parameter: (name: string) => View;
  private readonly all = new Map<string, Normed>();
  private readonly programs = new Map<string, Program>();
  private stale = true;

  constructor(device: Device, config: ModelConfig, plan: readonly LayerPlan[], parameter: (name: string) => View) {
    this.device = device;
    this.config = config;
    this.parameter = parameter;
    for (const { index: layer, adaptation } of plan) {
      for (const [name, lora] of Object.entries(adaptation.lora ?? {}) as [LinearName, LinearLora][]) {
        if (!kindOf(lora.kind).startsAtNorms) continue;
        const norms = tensor(device, "f32", [adapterSite(config, name, lora).out]);
        this.all.set(weightName(`${name}.weight_norm`, layer), { layer, name, lora, norms });
      }
    }
  }

  /** By checkpoint name. */
  get(name: string): View | undefined {
    return this.all.get(name)?.norms;
  }

  /** Parameters have other values now. */
  changed(): void {
    this.stale = true;
  }

  /** Makes the norms where parameters have changed since. */
  refresh(): void {
    if (!this.stale) return;
    this.stale = false;
    for (const { layer, name, lora, norms } of this.all.values()) {
      const program = this.program(name, lora);
      const inputs = program.inputs.map((input) => [input, this.parameter(weightName(input, layer))]);
      this.device.run(program, Object.fromEntries(inputs), { norms });
    }
  }

  /** Copies the norms into the parameters that start at them and are not `given`. */
  start(given: ReadonlyMap<string, unknown>): void {
    for (const { layer, name, lora, norms } of this.all.values()) {
      const parameter = weightName(`${name}.${kindOf(lora.kind).startsAtNorms}`, layer);
      if (given.has(parameter)) continue;
      this.refresh();
      this.device.copy(norms, this.parameter(parameter));
    }
  }

  dispose(): void {
    for (const { norms } of this.all.values()) this.device.free(norms.buffer);
    for (const program of this.programs.values()) this.device.release(program);
  }

  /** Its inputs have the names that they have in a block's programs: a stored weight is decoded into the same memory. */
  private program(name: LinearName, lora: LinearLora): Program {
    const key = `${name} ${JSON.stringify(lora)}`;
    let program = this.programs.get(key);
    if (!program) {
      program = this.device.compile(weightNorms(`${name}.`, adapterSite(this.config, name, lora)));
      this.programs.set(key, program);
    }
    return program;
  }
}

/** Start values with zeros for tensors that start at the norms of their weights and are not given. */
export function withTensorsToBeFilled(
  initial: ReadonlyMap<string, HostTensor>,
  { slots }: Layout,
  trainables: Trainables,
): ReadonlyMap<string, HostTensor> {
  const ending = trainables.kind === "lora" ? kindOf(trainables.lora.kind).startsAtNorms : undefined;
  if (ending === undefined) return initial;
  const missing = [...slots.values()].filter(({ name }) => name.endsWith(`.${ending}`) && !initial.has(name));
  return new Map([
    ...initial,
    ...missing.map(({ name, shape }) => [name, f32(shape, new Float32Array(sizeOf(shape)))] as const),
  ]);
}

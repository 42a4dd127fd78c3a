import type { SavePolicy } from "../graph/index.js";
import type { ModelConfig } from "../models/index.js";
import { type Device, uploadTensors, type View } from "../runtime/index.js";
import type { HostTensor } from "../tensor/index.js";
import { Activations } from "./activations.js";
import { AdapterNorms } from "./adapter-norms.js";
import { AttentionInputs } from "./attention-inputs.js";
import { BlockPrograms } from "./block-programs.js";
import { type Adapted, planLayers } from "./layer-plan.js";
import type { PassContext } from "./pass.js";
import { sharedPrefixOf } from "./shared-prefix.js";

/** A model on a device: its frozen weights by published name (none in a full fine-tune). */
export interface TrainerModel {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly weights: ReadonlyMap<string, View>;
}

export interface ContextOptions {
  readonly trainables: Adapted;
  /** The current value of a tensor that is not among the model's weights. */
  readonly adapter: (name: string) => View | undefined;
  /** Factors that are taken out of the weights. Default: none. */
  readonly fixed?: ReadonlyMap<string, HostTensor>;
  readonly checkpointing?: boolean;
  readonly save?: SavePolicy;
  readonly largestMicroBatch?: number;
}

/** Makes what passes over micro-batches work on: programs, buffers, positions and masks. */
export function createContext({ device, config, weights }: TrainerModel, options: ContextOptions): PassContext {
  const { checkpointing = false, save = "cheap", trainables, largestMicroBatch, adapter } = options;
  const plan = planLayers(config, trainables);
  const lowest = plan.findIndex((p) => p.needsX || p.inputTrainables.length > 0 || p.outputTrainables.length > 0);
  const fixed = uploadTensors(device, options.fixed ?? new Map());
  const parameter = (name: string): View => {
    const found = adapter(name) ?? weights.get(name) ?? norms.get(name) ?? fixed.get(name);
    if (!found) throw new Error(`no weight '${name}'`);
    return found;
  };
  const norms = new AdapterNorms(device, config, plan, parameter);
  const programs = new BlockPrograms(device, config, { save, checkpointing, parameter });
  const largest = largestMicroBatch && programs.rounding.tokens(largestMicroBatch);
  const kept = { checkpointing, lowest: lowest < 0 ? plan.length : lowest };
  return {
    device,
    config,
    plan,
    checkpointing,
    sharedPrefix: sharedPrefixOf(config),
    programs,
    activations: new Activations(device, config, { ...kept, ...(largest ? { largest } : {}) }),
    attention: new AttentionInputs(device, config),
    parameter,
    norms,
    fixed,
  };
}

export function disposeContext({ device, programs, activations, attention, norms, fixed }: PassContext): void {
  for (const part of [programs, activations, attention, norms]) part.dispose();
  for (const { buffer } of fixed.values()) device.free(buffer);
}

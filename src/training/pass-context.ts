import type { SavePolicy } from "../graph/index.js";
import { asAdapted, baseWeight, EMBEDDING, type ModelConfig, TOKEN_ROWS } from "../models/index.js";
import { type Device, putRows, tensor, uploadTensors, type View } from "../runtime/index.js";
import type { HostTensor } from "../tensor/index.js";
import { Activations } from "./activations.js";
import { AdapterNorms } from "./adapter-norms.js";
import { AttentionInputs } from "./attention-inputs.js";
import { BlockPrograms } from "./block-programs.js";
import { type Adapted, type LayerPlan, type OuterPlan, planLayers, planOuter } from "./layer-plan.js";
import { type SharedPrefix, sharedPrefixOf } from "./shared-prefix.js";
import { isFirst, outerIn, type Stage, trainsIn, wholeModel } from "./stages/stage.js";

/** A model on a device: its frozen weights by published name (none in a full fine-tune). */
export interface TrainerModel {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly weights: ReadonlyMap<string, View>;
}

/** What a pass over a micro-batch works on. */
export interface PassContext {
  readonly device: Device;
  readonly config: ModelConfig;
  /** The blocks that passes go through, and their plans. */
  readonly stage: Stage;
  readonly plan: readonly LayerPlan[];
  /** What crosses the ends of the stage backwards: a gradient of its last stream, and one of its first. */
  readonly flows: { readonly needsGradient: boolean; readonly givesGradient: boolean };
  readonly outer: OuterPlan;
  readonly programs: BlockPrograms;
  readonly activations: Activations;
  /** Further ones, for a micro-batch that is on its way at the same time. */
  readonly newActivations: () => Activations;
  readonly attention: AttentionInputs;
  /** The current value of a weight or adapter tensor by published name. */
  readonly parameter: (name: string) => View;
  readonly norms: AdapterNorms;
  /** The embedding, where rows of single tokens are trained. */
  readonly table: TokenTable | undefined;
  /** What is taken out of the weights, by checkpoint name. */
  readonly fixed: ReadonlyMap<string, View>;
  readonly checkpointing: boolean;
  readonly sharedPrefix: SharedPrefix;
}

/** Where one micro-batch's gradients go and how its dropout is drawn. */
export interface TrainPass {
  readonly gradient: (name: string) => View;
  readonly seed: number;
  readonly labels: readonly (string | number)[];
  /** Rows of the micro-batch that come before, where this is a part of it: their draws are passed over. Default 0. */
  readonly before?: number;
  /** NEFTune's alpha. Default: embeddings have no noise. */
  readonly noise?: number | undefined;
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
  /** The blocks that are there. Default: all. */
  readonly stage?: Stage | undefined;
}

/** Makes what passes over micro-batches work on: programs, buffers, positions and masks. */
export function createContext(model: TrainerModel, options: ContextOptions): PassContext {
  const { device, weights } = model;
  const { checkpointing = false, save = "cheap", trainables, largestMicroBatch, adapter } = options;
  const config = trainables.kind === "lora" ? asAdapted(model.config, trainables.lora) : model.config;
  const { stage = wholeModel(config) } = options;
  const outer = outerIn(stage, planOuter(config, trainables));
  const layers = planLayers(config, trainables);
  const plan = layers.slice(stage.first, stage.end);
  const lowest = plan.find((p) => p.needsX || p.inputTrainables.length > 0 || p.outputTrainables.length > 0);
  const fixed = uploadTensors(device, new Map([...(options.fixed ?? [])].filter(([name]) => trainsIn(stage, name))));
  const parameter = (name: string): View => {
    const own = name === EMBEDDING ? table?.view : undefined;
    const found = adapter(name) ?? own ?? baseWeight(weights, name) ?? norms.get(name) ?? fixed.get(name);
    if (!found) throw new Error(`no weight '${name}'`);
    return found;
  };
  const norms = new AdapterNorms(device, config, plan, parameter);
  const table =
    outer.tokens.length > 0 ? tokenTable(device, weights.get(EMBEDDING)!, outer.tokens, adapter) : undefined;
  const programs = new BlockPrograms(device, config, { save, checkpointing, parameter, outer });
  const largest = largestMicroBatch && programs.rounding.tokens(largestMicroBatch);
  const kept = { checkpointing, lowest: lowest?.index ?? stage.end, ...(largest ? { largest } : {}) };
  const newActivations = () => new Activations(device, config, kept);
  return {
    device,
    config,
    stage,
    plan,
    flows: {
      needsGradient: layers[stage.end]?.needsX ?? false,
      givesGradient: !isFirst(stage) && (plan[0]?.needsX ?? false),
    },
    checkpointing,
    sharedPrefix: sharedPrefixOf(config),
    outer,
    programs,
    activations: newActivations(),
    newActivations,
    attention: new AttentionInputs(device, config),
    parameter,
    norms,
    table,
    fixed,
  };
}

/** The embedding [V, D] in fp32 with the trained rows of single tokens in it. */
function tokenTable(device: Device, base: View, tokens: readonly number[], adapter: ContextOptions["adapter"]) {
  const view = tensor(device, "f32", base.shape);
  device.copy(base, view);
  let stale = true;
  return {
    view,
    changed: () => {
      stale = true;
    },
    /** Puts the rows in where they have changed since. */
    refresh() {
      if (stale) putRows(device, adapter(TOKEN_ROWS)!, tokens, view);
      stale = false;
    },
    dispose: () => device.free(view.buffer),
  };
}

export type TokenTable = ReturnType<typeof tokenTable>;

/** Parameters have other values now. */
export function parametersChanged({ norms, table }: PassContext): void {
  norms.changed();
  table?.changed();
}

export function disposeContext({ device, programs, activations, attention, norms, table, fixed }: PassContext): void {
  for (const part of [programs, activations, attention, norms, table]) part?.dispose();
  for (const { buffer } of fixed.values()) device.free(buffer);
}

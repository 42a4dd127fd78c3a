import type { Fn } from "../graph/index.js";
import {
  type DecodeShape,
  decode,
  type ModelConfig,
  outerNames,
  parseLayerInput,
  weightName,
} from "../models/index.js";
import type { Bound, Device, Program, View } from "../runtime/index.js";
import { bytesOf } from "../tensor/index.js";
import { Lru } from "../tensor/lru.js";
import type { DecodeStage } from "./decode-stage.js";

/** A resident base: weights by published name. */
export interface DecoderModel {
  readonly device: Device;
  readonly config: ModelConfig;
  /** By published name; with `bits` the linear layers' and the head's as `.codes`, `.scales` and `.zeros`. */
  readonly weights: ReadonlyMap<string, View>;
  /** Bits of a weight in linear layers and head; undefined: fp32. */
  readonly bits?: 4 | 8 | undefined;
  /** Where other processes hold the rest of the model; `config.heldBlocks` are then this one's. Default: all of it is here. */
  readonly stage?: DecodeStage | undefined;
}

/** Programs kept at most: adapters of ever new shapes do not fill the memory. */
const MAX_PROGRAMS = 64;

/** What runs give beside keys and values. */
const GIVEN: ReadonlySet<string> = new Set(["logits", "hidden", "next"]);

/** A compiled size of run, with the weights that it is fed. */
interface Step {
  readonly program: Program;
  readonly weights: Bound;
}

/**
 * The compiled runs of a base: one for each number of texts and tokens, cache capacity and height of the adapter stack. The one
 * not used for longest is released when they are too many.
 */
export class DecodePrograms {
  private readonly model: DecoderModel;
  private readonly steps = new Lru<string, Step>(MAX_PROGRAMS, { drop: (step) => this.release(step) });

  constructor(model: DecoderModel) {
    this.model = model;
  }

  /** `secondCopy`: bytes of matrices up to which an engine may lay them out a second time. */
  get(shape: DecodeShape, secondCopy: number): Step {
    return this.steps.get(JSON.stringify(shape), () => this.compile(shape, secondCopy));
  }

  clear(): void {
    this.steps.clear();
  }

  private compile(shape: DecodeShape, secondCopy: number): Step {
    const { device } = this.model;
    const f = this.graph(shape);
    const weights = this.weights(Object.keys(f.inputs));
    const fixed = this.mayCopy(shape.tokens, Object.values(weights), secondCopy) ? weights : {};
    const program = device.compile(f, "full", fixed);
    return { program, weights: device.bind(this.weights(program.inputs)) };
  }

  private release({ program, weights }: Step): void {
    this.model.device.unbind(weights);
    this.model.device.release(program);
  }

  /** Where runs themselves add to the caches, keys and values are not handed out. */
  private graph(shape: DecodeShape): Fn {
    const { device, config, bits } = this.model;
    const f = decode(config, { ...shape, bits });
    if (device.updates(f).length === 0) return f;
    const given = Object.entries(f.outputs).filter(([name]) => GIVEN.has(name));
    return { ...f, outputs: Object.fromEntries(given) };
  }

  /** Whether an engine may keep these weights in an order of its own: those of few bits always. */
  private mayCopy(tokens: number, weights: readonly View[], secondCopy: number): boolean {
    if (this.model.bits) return true;
    const matrices = weights.filter(({ shape }) => shape.length === 2);
    const bytes = matrices.reduce((sum, { shape }) => sum + bytesOf("f32", shape), 0);
    return tokens === 1 && bytes <= secondCopy && matrices.every(({ codec }) => !codec);
  }

  /** Those of the inputs that are weights of the base. */
  private weights(inputs: readonly string[]): Record<string, View> {
    const { config, weights } = this.model;
    const found: Record<string, View> = {};
    for (const name of inputs) {
      const own = parseLayerInput(name);
      const key = own ? weightName(own.input, own.layer) : (outerNames(config)[name] ?? name);
      const view = weights.get(key);
      if (view) found[name] = view;
      else if (/\.(weight|bias|codes)$/.test(name)) throw new Error(`no weight '${key}'`);
    }
    return found;
  }
}

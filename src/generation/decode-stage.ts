import { heldBlocks, type ModelConfig } from "../models/index.js";

/** What goes between processes that decode with a range of a model's blocks each. All of them decode the same texts in the same order. */
export interface DecodeStage {
  /** What the stage before has made of a run: so many numbers. */
  take(size: number): Promise<Float32Array>;
  /** Hands this stage's on to the next one. */
  give(stream: Float32Array): Promise<void>;
  /** What the last stage has found, given to all of them: so many numbers. `own` is there at the last stage alone. */
  share(size: number, own: Float32Array | undefined): Promise<Float32Array>;
}

/** Whether graphs of a model begin with its embedding, and whether they end with its head. */
export const begins = (config: ModelConfig): boolean => heldBlocks(config).first === 0;
export const ends = (config: ModelConfig): boolean => heldBlocks(config).end === config.numHiddenLayers;

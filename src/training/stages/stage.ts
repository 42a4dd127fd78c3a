import {
  type BlockRange,
  EMBEDDING,
  headWeight,
  type ModelConfig,
  parseBlockPath,
  TOKEN_ROWS,
} from "../../models/index.js";
import type { Communicator } from "../communicators/communicator.js";
import type { OuterPlan } from "../layer-plan.js";

/** The blocks of a model that one rank of a pipeline holds and trains; `index` of `count` that follow each other. */
export interface Stage extends BlockRange {
  readonly index: number;
  readonly count: number;
}

/** A base that is spread over ranks: each holds a range of its blocks. */
export interface PipelineOptions {
  /** The ranks of the pipeline, in the order of its stages. */
  readonly ranks: Communicator;
  readonly stages: readonly Stage[];
}

/** All blocks as one stage: a run without a pipeline. */
export const wholeModel = ({ numHiddenLayers }: ModelConfig): Stage => ({
  index: 0,
  count: 1,
  first: 0,
  end: numHiddenLayers,
});

export const isFirst = ({ index }: Stage): boolean => index === 0;
export const isLast = ({ index, count }: Stage): boolean => index === count - 1;

/** The stages of a model by the number of blocks in each. */
export function stagesOf(blocks: readonly number[]): Stage[] {
  let end = 0;
  return blocks.map((own, index) => {
    const first = end;
    end += own;
    return { index, count: blocks.length, first, end };
  });
}

/** Whether a tensor is trained in a stage: the embedding's in the first, the final norm's and the head's in the last. */
export function trainsIn(stage: Stage, name: string): boolean {
  const layer = parseBlockPath(name)?.layer;
  if (layer !== undefined) return stage.first <= layer && layer < stage.end;
  return name === EMBEDDING || name === TOKEN_ROWS ? isFirst(stage) : isLast(stage);
}

/** Whether a stage reads a weight of the base. An embedding that is the head too is read at both ends. */
export function readsWeight(stage: Stage, name: string, config: ModelConfig): boolean {
  return trainsIn(stage, name) || (isLast(stage) && name === headWeight(config));
}

/** What outside the blocks has a gradient in a stage. */
export function outerIn(stage: Stage, { head, embedding, tokens }: OuterPlan): OuterPlan {
  return {
    head: isLast(stage) ? head : undefined,
    embedding: isFirst(stage) && embedding,
    tokens: isFirst(stage) ? tokens : [],
  };
}

import type { View } from "../runtime/index.js";
import type { BatchLayout, HeadChunks } from "./batch-layout.js";
import type { LayerPlan } from "./layer-plan.js";
import { type BlockValues, Pass } from "./pass.js";
import type { PassContext, TrainPass } from "./pass-context.js";
import type { RowScores } from "./pass-head.js";
import type { Lesson } from "./teacher.js";

/**
 * One micro-batch through the model: forward, loss over the chosen rows and, when `train` is given, backward into its
 * gradients. Queues everything; returns the view of the chunk losses [count], whose sum is the weighted loss.
 */
export function runPass(context: PassContext, batch: BatchLayout, chunks: HeadChunks, train?: TrainPass): View {
  const pass = new Pass(context, batch, train);
  pass.forward();
  const losses = pass.loss(chunks);
  if (train) pass.backward();
  return losses;
}

/**
 * One micro-batch that is to come near to a teacher: as `runPass`, but what comes out are the weighted sums of divergences and of
 * entropies by chunk [2, count].
 */
export function runTaught(
  context: PassContext,
  batch: BatchLayout,
  chunks: HeadChunks,
  lesson: Lesson,
  train?: TrainPass,
): View {
  const pass = new Pass(context, batch, train);
  pass.forward();
  const found = pass.teach(chunks, lesson);
  if (train) pass.backward();
  return found;
}

/** Logits of a micro-batch at the chosen rows, chunk by chunk [size, V]. */
export async function readLogits(
  context: PassContext,
  batch: BatchLayout,
  chunks: HeadChunks,
  use: (chunk: number, logits: Float32Array) => void,
): Promise<void> {
  const pass = new Pass(context, batch, undefined);
  pass.forward();
  await pass.head.logits(chunks, use);
}

/** The last stream of a micro-batch [N, D], before the final norm. */
export function runStream(context: PassContext, batch: BatchLayout): View {
  const pass = new Pass(context, batch, undefined);
  pass.forward();
  return pass.stream(context.plan.length);
}

/** The forward of one micro-batch, `look` at each block's values before the next block runs. */
export async function runBlocks(
  context: PassContext,
  batch: BatchLayout,
  look: (layer: LayerPlan, values: BlockValues) => Promise<void>,
): Promise<void> {
  const pass = new Pass(context, batch, undefined);
  pass.embed();
  for (const layer of context.plan) await look(layer, pass.forwardLayer(layer));
}

/** The log-probabilities of a micro-batch's targets, negated [chunks * size], of which the first are the batch's. */
export function runScores(context: PassContext, batch: BatchLayout, chunks: HeadChunks): View {
  const pass = new Pass(context, batch, undefined);
  pass.forward();
  return pass.head.scores(chunks, "scores").nll;
}

/** A pass whose backward waits until the targets' shares in the loss are known. */
export interface OpenPass extends RowScores {
  /** The backward, with the shares of `chunks`; no other pass may have been run in between. */
  readonly finish: (chunks: HeadChunks) => void;
}

/**
 * Forward of one micro-batch, with the entropies of its rows where asked. Where no gradient of the head is asked for, its products are not
 * computed again in the backward.
 */
export function openPass(
  context: PassContext,
  batch: BatchLayout,
  chunks: HeadChunks,
  train: TrainPass,
  withEntropy = false,
): OpenPass {
  const pass = new Pass(context, batch, train);
  pass.forward();
  const again = context.outer.head !== undefined; // gradients of the head's weights need the shares
  const scores = pass.head.scores(chunks, again ? "scores" : "scored rows", withEntropy);
  const finish = (weighted: HeadChunks) => {
    if (again) pass.loss(weighted);
    else pass.head.weigh(weighted);
    pass.backward();
  };
  return { ...scores, finish };
}

import type { DecoderModel, DecodeStage } from "../generation/decoder.js";
import { parseBlockPath } from "../models/index.js";
import { UserError } from "../tensor/index.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { numbersOf, TAG } from "../training/stages/messages.js";
import { splitBlocks } from "../training/stages/split.js";
import { isLast, type PipelineOptions, readsWeight, type Stage, stagesOf } from "../training/stages/stage.js";
import { baseMemory, type HeldPrecision } from "../weights/base-precision.js";
import type { ResidentModel } from "../weights/load-model.js";
import type { OpenModel } from "../weights/model-folder.js";

/**
 * The stages in which ranks hold a model to evaluate it and generate with it: ranges of its blocks, of which the largest takes as few
 * bytes as can be. Throws UserError where there are more ranks than blocks.
 */
export function stagesOfModel(
  { config, tensors }: OpenModel,
  ranks: Communicator,
  precision: HeldPrecision,
): PipelineOptions {
  const { numHiddenLayers: blocks } = config;
  if (ranks.size > blocks)
    throw new UserError(
      `${ranks.size} ranks cannot hold ${blocks} blocks, one at least each; start ${blocks} or fewer`,
    );
  const stored = (name: string) => tensors.tensors.get(name)!.stored;
  const bytes = (stage: Stage) =>
    baseMemory(config, precision, stored, false, (name) => readsWeight(stage, name, config)).weights;
  const split = splitBlocks(blocks, ranks.size, (index, first, end) => bytes({ index, count: ranks.size, first, end }));
  return { ranks, stages: stagesOf(split) };
}

/** A model's weights as its decoder sees them: with a stage, its own blocks and the way to the other ranks. */
export function decodedBy(resident: ResidentModel, pipeline: PipelineOptions | undefined): DecoderModel {
  if (!pipeline) return resident;
  const blocks = pipeline.stages[pipeline.ranks.rank]!;
  return { ...resident, config: { ...resident.config, heldBlocks: blocks }, stage: decodeStage(pipeline, blocks) };
}

function decodeStage({ ranks }: PipelineOptions, stage: Stage): DecodeStage {
  const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
  return {
    take: async (size) =>
      numbersOf(await ranks.receive(stage.index - 1, TAG.stream), size, "ranks ask for other texts"),
    give: (stream) => ranks.send(stage.index + 1, TAG.stream, bytesOf(stream)),
    async share(size, own) {
      const all = isLast(stage) ? own! : new Float32Array(size);
      await ranks.broadcast(bytesOf(all), stage.count - 1);
      return all;
    },
  };
}

/** Those of an adapter's tensors that a rank needs: of blocks, its own blocks'. */
export function inStage<T>(tensors: ReadonlyMap<string, T>, pipeline: PipelineOptions | undefined): Map<string, T> {
  if (!pipeline) return new Map(tensors);
  const { first, end } = pipeline.stages[pipeline.ranks.rank]!;
  return new Map(
    [...tensors].filter(([name]) => {
      const layer = parseBlockPath(name)?.layer;
      return layer === undefined || (first <= layer && layer < end);
    }),
  );
}

/** Throws UserError where a model that ranks hold together is to do what asks for all of it. */
export function refuseStages(
  { name, pipeline }: { readonly name: string; readonly pipeline?: PipelineOptions | undefined },
  what: string,
): void {
  if (!pipeline) return;
  throw new UserError(`${name} is held by ${pipeline.ranks.size} ranks together, and ${what}; load all of it`);
}

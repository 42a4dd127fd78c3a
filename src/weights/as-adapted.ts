import { asAdapted, EMBEDDING, HEAD, type WholeWeights } from "../models/index.js";
import type { OpenModel } from "./model-folder.js";

/**
 * A model as an adapter has it: where the adapter tells a tied head from the embedding, the two are weights of their own, each with the
 * base's values.
 */
export function openAsAdapted(model: OpenModel, whole: WholeWeights): OpenModel {
  const config = asAdapted(model.config, whole);
  if (config === model.config) return model;
  const { tensors: source } = model;
  const stored = (name: string) => (name === HEAD ? EMBEDDING : name);
  return {
    ...model,
    config,
    tensors: {
      ...source,
      tensors: new Map([...source.tensors, [HEAD, { ...source.tensors.get(EMBEDDING)!, name: HEAD }]]),
      read: (name, target) => source.read(stored(name), target),
      readRaw: (name, target) => source.readRaw(stored(name), target),
      place: (name) => source.place(stored(name)),
    },
  };
}

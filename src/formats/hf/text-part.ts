import type { StoredTensor, TensorSource } from "../source.js";

/**
 * A tensor's or module's name in a model of texts alone, by its name in one that also sees: `language_model.model.norm` as
 * transformers 4 has it, `model.language_model.norm` as 5 has it. Other names stay.
 */
export const textName = (name: string): string =>
  name.replace(/^language_model\./, "").replace(/^model\.language_model\./, "model.");

/** The opposite: the name that transformers 5 has for it in the model that also sees. */
export const wholeName = (name: string): string => name.replace(/^model\./, "model.language_model.");

/** The same tensors under other names. */
export function renamedTensors(source: TensorSource, nameOf: (stored: string) => string): TensorSource {
  const stored = new Map([...source.tensors.keys()].map((name) => [nameOf(name), name]));
  const tensors = new Map<string, StoredTensor>(
    [...stored].map(([name, own]) => [name, { ...source.tensors.get(own)!, name }]),
  );
  const own = (name: string): string => stored.get(name) ?? name;
  return {
    ...source,
    tensors,
    read: (name, target) => source.read(own(name), target),
    readRaw: (name, target) => source.readRaw(own(name), target),
    place: (name) => source.place(own(name)),
  };
}

import type { OpenModel } from "./model-folder.js";

/** How much of a checkpoint has been read. */
export interface Loading {
  readonly bytes: number;
  readonly totalBytes: number;
}

/** The same model, telling what of its bytes has been read, tensor by tensor. */
export function counted(model: OpenModel, onProgress: ((loading: Loading) => void) | undefined): OpenModel {
  if (!onProgress) return model;
  const { tensors } = model;
  const totalBytes = [...tensors.tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  const read = new Set<string>();
  let bytes = 0;
  const count = (name: string) => {
    if (read.has(name)) return;
    read.add(name);
    bytes += tensors.tensors.get(name)!.bytes;
    onProgress({ bytes, totalBytes });
  };
  const told =
    <A extends readonly unknown[], R>(reads: (name: string, ...rest: A) => Promise<R>) =>
    async (name: string, ...rest: A): Promise<R> => {
      const result = await reads(name, ...rest);
      count(name);
      return result;
    };
  return { ...model, tensors: { ...tensors, read: told(tensors.read), readRaw: told(tensors.readRaw) } };
}

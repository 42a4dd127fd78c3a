import type { OpenModel } from "./model-folder.js";

/** How much of a checkpoint has been read. */
export interface Loading {
  readonly bytes: number;
  readonly totalBytes: number;
}

/** The same model, telling what of its bytes has been read, tensor by tensor; `reads` says which will be. */
export function counted(
  model: OpenModel,
  onProgress: ((loading: Loading) => void) | undefined,
  reads: (name: string) => boolean = () => true,
): OpenModel {
  if (!onProgress) return model;
  const { tensors } = model;
  const wanted = [...tensors.tensors.values()].filter(({ name }) => reads(name));
  const totalBytes = wanted.reduce((sum, { bytes }) => sum + bytes, 0);
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

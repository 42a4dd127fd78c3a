import type { OpenModel } from "../weights/model-folder.js";
import type { TrainEvent } from "./events.js";

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

/** Runs what loads a model and yields how far it is, at most every `everyMs`; its result is the generator's. */
export async function* whileLoading<T>(
  load: (onProgress: (loading: Loading) => void) => Promise<T>,
  now: () => number,
  everyMs = 1000,
): AsyncGenerator<TrainEvent, T> {
  let latest: Loading | undefined;
  let wake = (): void => {};
  let over = false;
  const loaded = load((loading) => {
    latest = loading;
    wake();
  }).finally(() => {
    over = true;
    wake();
  });
  loaded.catch(() => undefined); // awaited below
  let told = now();
  while (!over) {
    await new Promise<void>((resolve) => {
      wake = resolve;
      if (over) resolve();
    });
    if (!latest || now() - told < everyMs) continue;
    told = now();
    yield { type: "loading", ...latest };
  }
  return loaded;
}

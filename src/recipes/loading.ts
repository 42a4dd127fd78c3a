import type { Loading } from "../weights/counted.js";
import type { TrainEvent } from "./events.js";

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

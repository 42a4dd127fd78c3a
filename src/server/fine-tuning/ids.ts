import { random } from "../../tensor/index.js";

/** Makes ids that are unique in a data folder and, put in order as text, stand in the order they were made in. */
export function idMaker(now: () => number): (prefix: string) => string {
  const rng = random(now() >>> 0, "fine-tuning ids");
  let last = 0;
  return (prefix) => {
    last = Math.max(now(), last + 1);
    return `${prefix}-${last.toString(36).padStart(9, "0")}${(rng.int32() >>> 0).toString(36).padStart(7, "0")}`;
  };
}

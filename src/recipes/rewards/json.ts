import { z } from "zod";
import { each, rewardKind } from "./reward.js";

/** 1 for a completion that is JSON and nothing else. */
export const json = rewardKind({
  description: "1 for JSON and nothing around it; with keys, for an object that has all of them",
  schema: z.strictObject({ keys: z.array(z.string().min(1)).min(1).optional() }),
  create: ({ keys }) => each(({ text }) => Number(isJson(text, keys))),
});

function isJson(text: string, keys: readonly string[] | undefined): boolean {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return false;
  }
  if (!keys) return true;
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject && keys.every((key) => Object.hasOwn(value as object, key));
}

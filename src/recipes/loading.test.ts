import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { nodeFiles } from "../node/files.js";
import { counted, type Loading } from "../weights/counted.js";
import { openModel } from "../weights/model-folder.js";
import { whileLoading } from "./loading.js";

const TINY = fileURLToPath(new URL("../../models/tiny", import.meta.url));

it("says the bytes that were read of all that there are, each tensor once", async () => {
  const seen: Loading[] = [];
  const model = counted(await openModel(nodeFiles, TINY), (loading) => seen.push(loading));
  const names = [...model.tensors.tensors.keys()];
  for (const name of [...names, names[0]!]) await model.tensors.read(name);
  await model.close();
  expect(seen).toHaveLength(names.length);
  expect(seen.at(-1)).toEqual({ bytes: seen[0]!.totalBytes, totalBytes: seen[0]!.totalBytes });
  expect(seen[0]!.bytes).toBe(model.tensors.tensors.get(names[0]!)!.bytes);
});

it("events come while a model loads, spaced out; its result and its error are the generator's", async () => {
  let time = 0;
  const now = () => (time += 400);
  const load = async (tell: (loading: Loading) => void) => {
    for (let bytes = 1; bytes <= 9; bytes++) {
      tell({ bytes, totalBytes: 9 });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return "model";
  };
  const run = whileLoading(load, now);
  const events: unknown[] = [];
  let next = await run.next();
  for (; !next.done; next = await run.next()) events.push(next.value);
  expect(next.value).toBe("model");
  expect(events.length).toBeGreaterThan(0);
  expect(events.length).toBeLessThan(9);
  expect(events[0]).toMatchObject({ type: "loading", totalBytes: 9 });
  const broken = whileLoading(() => Promise.reject(new Error("damaged")), now);
  await expect(broken.next()).rejects.toThrow("damaged");
});

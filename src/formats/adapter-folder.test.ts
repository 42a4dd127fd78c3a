import { expect, test } from "vitest";
import { UserError } from "../tensor/index.js";
import { adapterFolder } from "./adapter-folder.js";
import { memoryFiles } from "./memory-files.js";

const at = (...folders: string[]) =>
  memoryFiles(Object.fromEntries(folders.map((folder) => [`${folder}/adapter_config.json`, "{}"])));

test.each<[string, string[], string, string]>([
  ["an adapter is itself", ["a", "a/adapter"], "a", "a"],
  ["a run is its adapter", ["run/adapter", "run/checkpoints/step-9/adapter"], "run", "run/adapter"],
  [
    "a run that is not over is its newest checkpoint",
    ["run/checkpoints/step-9/adapter", "run/checkpoints/step-10/adapter", "run/checkpoints/best"],
    "run",
    "run/checkpoints/step-10/adapter",
  ],
  [
    "a checkpoint is its adapter",
    ["run/checkpoints/step-9/adapter"],
    "run/checkpoints/step-9",
    "run/checkpoints/step-9/adapter",
  ],
  [
    "the Trainer's output is its newest checkpoint",
    ["out/checkpoint-90", "out/checkpoint-100"],
    "out",
    "out/checkpoint-100",
  ],
])("%s", async (_, folders, given, found) => {
  expect(await adapterFolder(at(...folders), given)).toBe(found);
});

test("what holds no adapter is refused, saying what it is", async () => {
  const files = memoryFiles({ "run/model/config.json": "{}", "other/x": "", "run2/checkpoints/step-x/adapter/x": "" });
  await expect(adapterFolder(files, "run")).rejects.toThrow(
    /run: this run trained a whole model.*give run\/model as the base/,
  );
  await expect(adapterFolder(files, "other")).rejects.toThrow(/no adapter here \(adapter_config.json is missing/);
  await expect(adapterFolder(files, "run2")).rejects.toThrow(UserError);
  await expect(adapterFolder(files, "nowhere")).rejects.toThrow(/nowhere: no adapter here: no such folder/);
});

import { UserError } from "../tensor/index.js";
import { type Files, join } from "./files.js";

const CONFIG = "adapter_config.json";

/** Where the adapter of a run's folder is looked for after `adapter/`: folders of saved steps, and the adapter inside of each. */
const STEPS = [
  { folder: "checkpoints", prefix: "step-", inside: "adapter" },
  { folder: "", prefix: "checkpoint-", inside: "" }, // transformers' Trainer
] as const;

/**
 * The PEFT folder that a path stands for: itself; a run's `adapter/`, or while there is none the newest of its checkpoints'; a
 * checkpoint's `adapter/`. Throws UserError that says what is there instead.
 */
export async function adapterFolder(files: Files, path: string): Promise<string> {
  const isAdapter = async (folder: string) => (await files.stat(join(folder, CONFIG)))?.kind === "file";
  for (const folder of [path, join(path, "adapter")]) if (await isAdapter(folder)) return folder;
  for (const { folder, prefix, inside } of STEPS) {
    const parent = join(path, folder);
    if ((await files.stat(parent))?.kind !== "folder") continue;
    const steps = (await files.list(parent))
      .filter((name) => name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length)))
      .sort((a, b) => Number(b.slice(prefix.length)) - Number(a.slice(prefix.length)));
    for (const step of steps) {
      const found = join(parent, step, inside);
      if (await isAdapter(found)) return found;
    }
  }
  const found = await files.stat(path);
  if (!found) throw new UserError(`${path}: no adapter here: no such folder`, { code: "not_found" });
  if ((await files.stat(join(path, "model", "config.json")))?.kind === "file")
    throw new UserError(
      `${path}: this run trained a whole model, not an adapter; give ${join(path, "model")} as the base`,
      { code: "not_found" },
    );
  if ((await files.stat(join(path, "config.json")))?.kind === "file")
    throw new UserError(`${path}: a whole model, not an adapter; give it as the base`, { code: "not_found" });
  throw new UserError(`${path}: no adapter here (${CONFIG} is missing, and there is no adapter/ or checkpoint in it)`, {
    code: "not_found",
  });
}

import { UserError } from "../../tensor/index.js";
import { type Files, join, writeFolder } from "../files.js";
import { type JsonObject, jsonBytes, readObject } from "../json.js";
import { DEFAULT } from "./config.js";

const CONFIG = "adapter_config.json";

/**
 * An adapter's configuration with every alpha times `scale`: the adapter is then so strong wherever it is loaded. Throws
 * UserError for a kind of adapter that does not grow with its alpha.
 */
export async function scaledConfig(files: Files, folder: string, scale: number): Promise<JsonObject> {
  const path = join(folder, CONFIG);
  const json = await readObject(files, path);
  if (!json) throw new UserError(`${folder}: no adapter here (${CONFIG} is missing)`);
  if (json.use_dora)
    throw new UserError(
      `${folder}: the change of a DoRA does not grow with its alpha, so no other scale of it can be written`,
    );
  for (const key of ["modules_to_save", "trainable_token_indices"])
    if (json[key])
      throw new UserError(`${folder}: its ${key} do not grow with its alpha, so no other scale of it can be written`);
  const times = (alpha: unknown) => (typeof alpha === "number" ? Number((alpha * scale).toPrecision(12)) : alpha);
  const { alpha_pattern: patterns } = json;
  const scaled = Object.entries((patterns ?? {}) as JsonObject).map(([module, alpha]) => [module, times(alpha)]);
  return {
    ...json,
    lora_alpha: times(json.lora_alpha ?? DEFAULT.lora_alpha),
    ...(patterns ? { alpha_pattern: Object.fromEntries(scaled) } : {}),
  };
}

/** Writes a copy of an adapter folder that is `scale` times as strong. */
export async function writeScaled(files: Files, folder: string, scale: number, output: string): Promise<void> {
  const config = await scaledConfig(files, folder, scale);
  await writeFolder(files, output, async (into) => {
    for (const name of await files.list(folder)) {
      const path = join(folder, name);
      const stat = await files.stat(path);
      if (stat?.kind !== "file") continue;
      await files.write(join(into, name), name === CONFIG ? jsonBytes(config) : await files.read(path, stat.size));
    }
  });
}

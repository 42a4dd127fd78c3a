import { type ModelConfig, type ReadConfig, readConfig } from "../../models/index.js";
import { UserError } from "../../tensor/index.js";
import type { JsonObject } from "../json.js";

export { writeConfig as configToHf } from "../../models/index.js";

/** Reads config.json, see `readConfig`, and refuses numbers that do not fit together. */
export function readHfConfig(json: JsonObject, where: string): ReadConfig {
  const read = readConfig(json, where);
  checkModelConfig(read.config, where);
  return read;
}

/** The configuration alone. */
export const configFromHf = (json: JsonObject, where: string): ModelConfig => readHfConfig(json, where).config;

/** Refuses a configuration whose numbers do not fit together; `where` starts the message. */
export function checkModelConfig(config: ModelConfig, where: string): void {
  for (const [key, value] of Object.entries(config)) {
    if (typeof value !== "number") continue;
    const sound = WHOLE.has(key) ? Number.isInteger(value) && value > 0 : value > 0;
    if (!sound || value >= 2 ** 31) throw new UserError(`${where}: ${key} cannot be ${value}`);
  }
  const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim } = config;
  if (heads % kv !== 0)
    throw new UserError(`${where}: ${heads} attention heads cannot share ${kv} key-value heads evenly`);
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw new UserError(
      `${where}: head_dim must be an even whole number (rotary positions turn pairs), got ${headDim}`,
    );
  }
  if (config.numHiddenLayers > 10_000)
    throw new UserError(`${where}: ${config.numHiddenLayers} layers are not plausible`);
}

/** The numbers that count something. */
const WHOLE: ReadonlySet<string> = new Set([
  "vocabSize",
  "hiddenSize",
  "intermediateSize",
  "numHiddenLayers",
  "numAttentionHeads",
  "numKeyValueHeads",
  "headDim",
  "maxPositionEmbeddings",
  "rotaryDim",
]);

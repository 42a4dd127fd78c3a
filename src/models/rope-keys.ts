import { UserError } from "../tensor/index.js";
import type { ModelConfig, RopeScaling } from "./config.js";
import { ConfigKeys, type JsonObject } from "./config-keys.js";
import type { RopeRead } from "./family.js";

const TRAINED = "original_max_position_embeddings";

const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value) && value > 0;

/** What each kind of rope reads beside the keys that all have; to add one is a row. */
const KINDS: Readonly<Record<string, (dict: ConfigKeys, most: number, headDim: number) => RopeScaling | undefined>> = {
  default: () => undefined,
  linear: (dict) => ({ type: "linear", factor: dict.positive("factor") }),
  llama3: (dict, most) => ({
    type: "llama3",
    factor: dict.positive("factor"),
    lowFreqFactor: dict.positive("low_freq_factor"),
    highFreqFactor: dict.positive("high_freq_factor"),
    originalMaxPositionEmbeddings: dict.size(TRAINED, most),
  }),
  longrope: readLongrope,
};

/** Keys that name a kind of rope. */
const NAMES = ["rope_type", "type"];

/**
 * Reads the rotary frequencies of a config.json, old style (`rope_theta`, `rope_scaling`, `partial_rotary_factor`) and new
 * (`rope_parameters`), as transformers does: `rope_scaling` counts before `rope_parameters`, a theta inside either before the one
 * outside. `byLayer`: there may be a set for each kind of layer, of which this is full attention's. `oldNames`: see `ModelFamily.oldRopeNames`.
 */
export function readRope(
  keys: ConfigKeys,
  headDim: number,
  { byLayer, oldNames }: { byLayer: boolean; oldNames: Readonly<Record<string, string>> },
): RopeRead {
  const most = keys.size("max_position_embeddings", 2048);
  const json = ropeObject(keys, byLayer);
  const outside = (key: string) => keys.get(key);
  const trained = outside(TRAINED); // counts before the one inside
  const dict = new ConfigKeys(
    {
      ...json,
      ...(trained === null ? {} : { [TRAINED]: trained }),
      rope_theta: json.rope_theta ?? outside("rope_theta") ?? 10000,
      partial_rotary_factor: json.partial_rotary_factor ?? outside("partial_rotary_factor") ?? 1,
    },
    keys.where,
  );
  const named = "rope_type" in json ? json.rope_type : "type" in json ? json.type : "default";
  const type = typeof named === "string" && Object.hasOwn(oldNames, named) ? oldNames[named]! : named;
  const read = typeof type === "string" && Object.hasOwn(KINDS, type) ? KINDS[type] : undefined;
  if (!read)
    throw new UserError(
      `${keys.where}: rope type ${JSON.stringify(type)} is not supported (supported: ${Object.keys(KINDS).join(", ")})`,
    );
  const scaling = read(dict, most, headDim);
  const [theta, partial] = [dict.positive("rope_theta"), dict.positive("partial_rotary_factor")];
  const idle = dict.unread().filter((key) => key in json && !NAMES.includes(key) && json[key]);
  return { theta, partial, type: String(type), idle, ...(scaling ? { scaling } : {}) };
}

function ropeObject(keys: ConfigKeys, byLayer: boolean): JsonObject {
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const value = keys.get(key);
    if (value === null || value === false) continue;
    if (typeof value !== "object" || Array.isArray(value))
      throw new UserError(`${keys.where}: ${key} must be an object, got ${JSON.stringify(value)}`);
    const nested = Object.entries(value).find(([, inner]) => isObject(inner));
    if (!nested && Object.keys(value as object).length > 0) return value as JsonObject;
    if (nested && !byLayer)
      throw new UserError(`${keys.where}: rope parameters per kind of layer (${nested[0]}) are not supported`);
    if (nested) return ((value as JsonObject).full_attention ?? {}) as JsonObject;
  }
  return {};
}

const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value);

/** Phi's: a factor for each pair, for texts up to the trained length and for longer ones (Ding et al. 2024, LongRoPE). */
function readLongrope(dict: ConfigKeys, most: number, headDim: number): RopeScaling {
  const pairs = Math.floor(headDim * dict.positive("partial_rotary_factor")) / 2;
  const original = dict.size(TRAINED, most);
  const factors = (key: string) => {
    const list = dict.list(key, pairs, isNumber, "numbers above 0");
    if (list) return list;
    throw new UserError(`${dict.where}: ${key} must be a list of ${pairs} numbers above 0, got nothing`);
  };
  const factor = dict.get("factor") === null ? most / original : dict.positive("factor");
  const attention = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  return {
    type: "longrope",
    shortFactors: factors("short_factor"),
    longFactors: factors("long_factor"),
    originalMaxPositionEmbeddings: original,
    attentionFactor: dict.positive("attention_factor", attention),
  };
}

/** A model's own frequencies in the newer style: what `rope_parameters` holds. */
export function ropeKeys({ ropeTheta, ropeScaling, rotaryDim, headDim }: ModelConfig): JsonObject {
  const partial = rotaryDim === undefined ? {} : { partial_rotary_factor: rotaryDim / headDim };
  return { rope_theta: ropeTheta, ...partial, ...(ropeScalingKeys(ropeScaling) ?? { rope_type: "default" }) };
}

/** The same in the older style: what `rope_scaling` holds. */
export function ropeScalingKeys(scaling: RopeScaling | undefined): JsonObject | null {
  switch (scaling?.type) {
    case undefined:
      return null;
    case "linear":
      return { factor: scaling.factor, rope_type: "linear" };
    case "llama3":
      return {
        factor: scaling.factor,
        high_freq_factor: scaling.highFreqFactor,
        low_freq_factor: scaling.lowFreqFactor,
        [TRAINED]: scaling.originalMaxPositionEmbeddings,
        rope_type: "llama3",
      };
    case "longrope":
      return {
        attention_factor: scaling.attentionFactor,
        long_factor: [...scaling.longFactors],
        short_factor: [...scaling.shortFactors],
        [TRAINED]: scaling.originalMaxPositionEmbeddings,
        rope_type: "longrope",
      };
  }
}

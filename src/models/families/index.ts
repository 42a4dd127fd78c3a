import type { ModelConfig } from "../config.js";
import type { ModelFamily } from "../family.js";
import { gemma2 } from "./gemma2.js";
import { gemma3 } from "./gemma3.js";
import { granite } from "./granite.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { olmo2 } from "./olmo2.js";
import { phi3 } from "./phi3.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";
import { smollm3 } from "./smollm3.js";

/** Every family, by `model_type`; to add one is a file and a row. */
export const FAMILIES: ReadonlyMap<string, ModelFamily> = new Map(
  [llama, mistral, qwen2, qwen3, gemma3, smollm3, granite, phi3, gemma2, olmo2].map((family) => [
    family.modelType,
    family,
  ]),
);

/** The family of a configuration that names none. */
const USUAL = "llama";

/** What a configuration says of its family. */
export const saidFamily = ({ modelType }: ModelFamily): Pick<ModelConfig, "family"> =>
  modelType === USUAL ? {} : { family: modelType };

/** The family of a configuration. */
export const familyOf = ({ family = USUAL }: Pick<ModelConfig, "family">): ModelFamily => FAMILIES.get(family)!;

import { UserError } from "../../tensor/index.js";
import { cpo } from "./cpo.js";
import { distill } from "./distill.js";
import { dpo } from "./dpo.js";
import { grpo } from "./grpo.js";
import { kto } from "./kto.js";
import type { Objective, ObjectiveKind, ObjectiveOptions } from "./objective.js";
import { orpo } from "./orpo.js";
import { sft } from "./sft.js";
import { simpo } from "./simpo.js";

/** Every objective, by its name in the config; to add one is a file and a row. */
export const OBJECTIVES = { sft, dpo, kto, orpo, simpo, cpo, distill, grpo } as const satisfies Record<
  string,
  ObjectiveKind
>;

export type ObjectiveName = keyof typeof OBJECTIVES;

/** The `objective` section of a config; null: the objective's own default. */
export type ObjectiveSettings = { readonly name: ObjectiveName } & {
  readonly [K in keyof ObjectiveOptions]?: ObjectiveOptions[K] | null;
};

/** The objective that a config asks for. Throws UserError for keys that it does not read and values that do not go together. */
export function createObjective(settings: ObjectiveSettings): Objective {
  return (OBJECTIVES[settings.name] as ObjectiveKind).create(objectiveOptions(settings));
}

/** An objective's settings with its own defaults. Throws UserError for keys that it does not read. */
export function objectiveOptions({ name, ...settings }: ObjectiveSettings): ObjectiveOptions {
  const kind: ObjectiveKind = OBJECTIVES[name];
  const given = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined);
  const own = [...Object.keys(kind.defaults), ...(kind.optional ?? [])];
  for (const [key] of given) {
    if (own.includes(key)) continue;
    const reads = own.length > 0 ? `it reads ${own.map(onDisk).join(", ")}` : "it has no settings";
    throw new UserError(`objective.${onDisk(key)}: ${name} does not read it; ${reads}`);
  }
  if (settings.topK === 0 && kind.defaults.topK !== 0)
    throw new UserError(`objective.top_k: ${name} needs at least 1; leave it out for all tokens`);
  refuseOtherTypes(name, kind, settings.lossType ?? undefined);
  if (settings.beta === 0 && kind.defaults.beta !== 0)
    throw new UserError(`objective.beta: ${name} needs one above 0, as its own ${kind.defaults.beta} is`);
  const options = { ...kind.defaults, ...Object.fromEntries(given) } as ObjectiveOptions;
  const lossType = Array.isArray(kind.defaults.lossType) ? options.lossType : [options.lossType].flat()[0]!;
  return { ...options, lossType };
}

/** Throws UserError for a loss type that is another objective's, and for several where one is read. */
function refuseOtherTypes(
  name: string,
  { lossTypes = [], defaults }: ObjectiveKind,
  given: string | readonly string[] = [],
): void {
  const types = [given].flat();
  const other = types.find((type) => !lossTypes.includes(type));
  if (other !== undefined)
    throw new UserError(`objective.loss_type: ${name} has no '${other}'; it has ${lossTypes.join(", ")}`);
  if (typeof given !== "string" && given.length > 1 && !Array.isArray(defaults.lossType))
    throw new UserError(`objective.loss_type: ${name} takes one, not ${given.length} (${given.join(", ")})`);
}

const settingsOf = (chosen: (kind: ObjectiveKind) => boolean): string[] =>
  Object.values<ObjectiveKind>(OBJECTIVES).flatMap((kind) => (chosen(kind) ? Object.keys(kind.defaults) : []));
const others = settingsOf(({ rows }) => rows !== "prompts");

/** Settings that only objectives read whose rows are prompts. */
export const PROMPT_SETTINGS: ReadonlySet<string> = new Set(
  settingsOf(({ rows }) => rows === "prompts").filter((key) => !others.includes(key)),
);

/** Every loss type of every objective. */
export const LOSS_TYPES: readonly string[] = [
  ...new Set(Object.values<ObjectiveKind>(OBJECTIVES).flatMap(({ lossTypes = [] }) => lossTypes)),
];

const onDisk = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

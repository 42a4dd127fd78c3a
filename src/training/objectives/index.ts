import { UserError } from "../../tensor/index.js";
import { cpo } from "./cpo.js";
import { distill } from "./distill.js";
import { dpo } from "./dpo.js";
import { kto } from "./kto.js";
import type { Objective, ObjectiveKind, ObjectiveOptions } from "./objective.js";
import { orpo } from "./orpo.js";
import { sft } from "./sft.js";
import { simpo } from "./simpo.js";

/** Every objective, by its name in the config; to add one is a file and a row. */
export const OBJECTIVES = { sft, dpo, kto, orpo, simpo, cpo, distill } as const satisfies Record<string, ObjectiveKind>;

export type ObjectiveName = keyof typeof OBJECTIVES;

/** The `objective` section of a config; null: the objective's own default. */
export type ObjectiveSettings = { readonly name: ObjectiveName } & {
  readonly [K in keyof ObjectiveOptions]?: ObjectiveOptions[K] | null;
};

/** The objective that a config asks for. Throws UserError for keys that it does not read and values that do not go together. */
export function createObjective({ name, ...settings }: ObjectiveSettings): Objective {
  const kind: ObjectiveKind = OBJECTIVES[name];
  const given = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined);
  const own = [...Object.keys(kind.defaults), ...(kind.optional ?? [])];
  for (const [key] of given) {
    if (own.includes(key)) continue;
    const reads = own.length > 0 ? `it reads ${own.map(onDisk).join(", ")}` : "it has no settings";
    throw new UserError(`objective.${onDisk(key)}: ${name} does not read it; ${reads}`);
  }
  refuseOtherTypes(name, kind, settings.lossType ?? undefined);
  const options = { ...kind.defaults, ...Object.fromEntries(given) } as ObjectiveOptions;
  const lossType = Array.isArray(kind.defaults.lossType) ? options.lossType : [options.lossType].flat()[0]!;
  return kind.create({ ...options, lossType });
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

/** Every loss type of every objective. */
export const LOSS_TYPES: readonly string[] = [
  ...new Set(Object.values<ObjectiveKind>(OBJECTIVES).flatMap(({ lossTypes = [] }) => lossTypes)),
];

const onDisk = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

import { UserError } from "../../tensor/index.js";
import type { Objective, ObjectiveKind, ObjectiveOptions } from "./objective.js";
import { sft } from "./sft.js";

/** Every objective, by its name in the config; to add one is a file and a row. */
export const OBJECTIVES = { sft } as const satisfies Record<string, ObjectiveKind>;

export type ObjectiveName = keyof typeof OBJECTIVES;

/** The `objective` section of a config; null: the objective's own default. */
export type ObjectiveSettings = { readonly name: ObjectiveName } & {
  readonly [K in keyof ObjectiveOptions]?: ObjectiveOptions[K] | null;
};

/** The objective that a config asks for. Throws UserError for keys that it does not read and values that do not go together. */
export function createObjective({ name, ...settings }: ObjectiveSettings): Objective {
  const kind: ObjectiveKind = OBJECTIVES[name];
  const given = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined);
  const own = Object.keys(kind.defaults);
  for (const [key] of given) {
    if (own.includes(key)) continue;
    const reads = own.length > 0 ? `it reads ${own.map(onDisk).join(", ")}` : "it has no settings";
    throw new UserError(`objective.${onDisk(key)}: ${name} does not read it; ${reads}`);
  }
  return kind.create({ ...kind.defaults, ...Object.fromEntries(given) } as ObjectiveOptions);
}

const onDisk = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

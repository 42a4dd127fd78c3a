import type { z } from "zod";
import { OBJECTIVES } from "../training/objectives/index.js";
import type { ObjectiveKind, ObjectiveOptions } from "../training/objectives/objective.js";

/** The defaults of a setting that each objective has its own of, in words. */
const ownDefaults = (key: keyof ObjectiveOptions): string =>
  Object.entries<ObjectiveKind>(OBJECTIVES)
    .flatMap(([name, { defaults }]) => ((defaults[key] ?? null) === null ? [] : [`${name} ${[defaults[key]].flat()}`]))
    .join(", ");

/** A setting of some objectives; null is what the objective takes by itself, or `otherwise`. */
export const ofObjective = <T extends z.ZodType>(
  schema: T,
  key: keyof ObjectiveOptions,
  description: string,
  otherwise = ownDefaults(key),
) => schema.nullable().default(null).describe(`${description} null: ${otherwise}.`);

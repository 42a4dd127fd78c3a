import { z } from "zod";
import type { Platform } from "../../platform/platform.js";
import { nearest, UserError } from "../../tensor/index.js";
import { exactMatch } from "./exact-match.js";
import { json } from "./json.js";
import { judgeModel } from "./judge-model.js";
import { length } from "./length.js";
import { regex } from "./regex.js";
import type { Reward, RewardKind } from "./reward.js";

/** Every reward that a config can ask for, by its name; to add one is a file and a row. */
export const REWARDS = { exact_match: exactMatch, regex, json, length, judge: judgeModel } as const;

const entry = z.looseObject({
  name: z.string().min(1),
  weight: z.number().optional(),
  id: z
    .string()
    .regex(/^[\w.-]+$/)
    .optional(),
});

/** An entry of `objective.rewards`: its weight (default 1), what its metrics are called (default: its name), and settings of its own. */
export type RewardSettings = z.output<typeof entry>;

/** The list `objective.rewards`, each entry with the settings of its own kind. */
export const rewardsSchema = z.array(entry).superRefine((list, context) => {
  for (const given of list) {
    for (const message of faultsOf(given)) context.addIssue({ code: "custom", message: `${given.name}: ${message}` });
  }
  const ids = list.map(({ id, name }) => id ?? name);
  const twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined)
    context.addIssue({ code: "custom", message: `two rewards are called '${twice}'; give one of them another id` });
});

const kindOf = (name: string): RewardKind<unknown> | undefined =>
  Object.hasOwn(REWARDS, name) ? (REWARDS[name as keyof typeof REWARDS] as RewardKind<unknown>) : undefined;

/** What is wrong with an entry. */
function faultsOf({ name, weight: _, id: __, ...own }: RewardSettings): string[] {
  const kind = kindOf(name);
  if (!kind) {
    const near = nearest(name, Object.keys(REWARDS));
    return [`is none; there are ${Object.keys(REWARDS).join(", ")}${near ? `. Did you mean ${near}?` : ""}`];
  }
  const { error } = kind.schema.safeParse(own);
  return error ? error.issues.map(({ path, message }) => [...path, message].join(": ")) : [];
}

/**
 * The rewards of a config and those that a program gave, in this order. Throws UserError where there are none, two have the same name, or
 * settings cannot be.
 */
export function openRewards(
  settings: readonly RewardSettings[],
  given: readonly Reward[],
  platform: Pick<Platform, "variable" | "fetch">,
): Required<Reward>[] {
  const own = settings.map(({ name, weight, id, ...rest }): Reward => {
    const kind = kindOf(name)!;
    const score = kind.create(kind.schema.parse(rest), `objective.rewards: ${id ?? name}`, platform);
    return { name: id ?? name, ...(weight === undefined ? {} : { weight }), score };
  });
  const all = [...own, ...given].map((reward) => ({ weight: 1, ...reward }));
  if (all.length === 0)
    throw new UserError(
      `objective.rewards: grpo learns from rewards, and there is none; ask for one of ${Object.keys(REWARDS).join(", ")} (docs/grpo.md)`,
      { code: "invalid_config" },
    );
  const twice = all.find(({ name }, i) => all.findIndex((other) => other.name === name) !== i);
  if (twice) throw new UserError(`objective.rewards: two are called '${twice.name}'`, { code: "invalid_config" });
  return all;
}

import type { z } from "zod";
import type { PromptRow } from "../../data/row.js";
import type { Platform } from "../../platform/platform.js";

/** What the model made of a prompt, and the row that the prompt is of. */
export interface Completion {
  /** Text, or the messages of a conversation. */
  readonly prompt: PromptRow["prompt"];
  readonly text: string;
  /** Its tokens, the one that ended it among them. */
  readonly tokens: number;
  /** False where it was cut off at its longest length. */
  readonly ended: boolean;
  /** What else the row says, by its names. */
  readonly columns: PromptRow["columns"];
}

/** A number for each completion, the higher the better; null: this one is not judged. */
export type Score = (
  completions: readonly Completion[],
) => readonly (number | null)[] | Promise<readonly (number | null)[]>;

/** What completions are rewarded for. */
export interface Reward {
  /** What its metrics are called: `rewards/NAME/mean`. */
  readonly name: string;
  /** Default 1. */
  readonly weight?: number;
  readonly score: Score;
}

/** An entry of the table: a reward that a config can ask for. */
export interface RewardKind<S> {
  /** For the config's reference. */
  readonly description: string;
  /** Its settings beside name, weight and id. */
  readonly schema: z.ZodType<S>;
  /** Throws UserError for settings that cannot be. `where` names the reward in errors. */
  readonly create: (settings: S, where: string, platform: Pick<Platform, "variable" | "fetch">) => Score;
}

/** Makes an entry's settings known to its own functions. */
export const rewardKind = <S>(kind: RewardKind<S>): RewardKind<S> => kind;

/** A score that looks at each completion by itself. */
export const each =
  (score: (completion: Completion) => number | null): Score =>
  (completions) =>
    completions.map(score);

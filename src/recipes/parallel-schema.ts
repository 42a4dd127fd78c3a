import { z } from "zod";
import { INITS } from "../adapters/index.js";
import { OBJECTIVES, type ObjectiveName } from "../training/objectives/index.js";
import type { ObjectiveKind } from "../training/objectives/objective.js";
import { count } from "./schema-parts.js";

/** The section `parallel`. */
export const parallelSchema = z
  .strictObject({
    pipeline: count(1)
      .default(1)
      .describe(
        "Stages: so many ranks hold the base together, each a range of its blocks (docs/distributed.md). Ranks beyond them train on other rows; their number is a multiple of this.",
      ),
  })
  .prefault({})
  .describe("How a run is spread over ranks.");

/** What of a config decides whether it can run in stages. */
interface Asked {
  readonly parallel: { readonly pipeline: number };
  readonly objective: {
    readonly name: ObjectiveName;
    readonly keep: { readonly data: unknown; readonly generate: unknown };
  };
  readonly full_finetune: boolean;
  readonly base_cache: boolean | string;
  readonly lora: { readonly init: keyof typeof INITS };
  readonly data: { readonly abstain: unknown };
  readonly eval_suite: unknown;
  readonly samples: { readonly prompts: unknown; readonly file: unknown };
  readonly scale: { readonly suite: unknown };
}

/** What needs all of the base on one rank, where a config has stages. */
export function wrongParallel(asked: Asked): { readonly path: string[]; readonly message: string } | undefined {
  if (asked.parallel.pipeline === 1) return undefined;
  const { objective, lora, data, samples, scale } = asked;
  const kind: ObjectiveKind = OBJECTIVES[objective.name];
  const compares = kind.usesReference || kind.usesTeacher || kind.rows === "prompts";
  const free = Object.entries<ObjectiveKind>(OBJECTIVES)
    .filter(([, other]) => !other.usesReference && !other.usesTeacher && other.rows !== "prompts")
    .map(([name]) => name);
  const isSeen = (INITS[lora.init] as { seesInputs?: boolean }).seesInputs ?? false;
  const needing: readonly (readonly [boolean, string[], string])[] = [
    [
      compares,
      ["objective", "name"],
      `${objective.name} asks a whole model; ${free.join(", ")} can be trained in stages`,
    ],
    [objective.keep.data !== null || objective.keep.generate !== null, ["objective", "keep"], "asks the whole base"],
    [asked.full_finetune, ["full_finetune"], "in stages an adapter is trained; leave it out"],
    [asked.base_cache !== false, ["base_cache"], "keeps a whole base, and a stage reads a part of one; leave it out"],
    [isSeen, ["lora", "init"], `${lora.init} runs the whole base over rows; take another start`],
    [data.abstain !== null, ["data", "abstain"], "makes rows before a run; make them with lowrank augment"],
    [asked.eval_suite !== null, ["eval_suite"], "is answered by a whole model; evaluate the adapter after training"],
    [samples.prompts !== null || samples.file !== null, ["samples"], "are answered by a whole model; leave them out"],
    [scale.suite !== null, ["scale", "suite"], "is answered by a whole model; run lowrank scale after training"],
  ];
  const found = needing.find(([isAsked]) => isAsked);
  return found && { path: found[1], message: `${found[2]} (parallel.pipeline is ${asked.parallel.pipeline})` };
}

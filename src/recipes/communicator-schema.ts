import { z } from "zod";
import { OBJECTIVES, type ObjectiveName } from "../training/objectives/index.js";
import { count } from "./schema-parts.js";

/** Defaults of the outer optimiser: those that DiLoCo's paper found best (arXiv 2311.08105, section 3). */
const OUTER = { lr: 0.7, momentum: 0.9 } as const;

/** The section `communicator`. */
export const communicatorSchema = z
  .strictObject({
    local_steps: count(1)
      .nullable()
      .default(null)
      .describe(
        "DiLoCo: each rank takes so many steps by its own rows with an optimiser of its own before ranks agree on the mean of what they moved by (docs/distributed.md); null: gradients are added up in every step.",
      ),
    outer_lr: z
      .number()
      .positive()
      .default(OUTER.lr)
      .describe("With local_steps: learning rate of the outer optimiser, SGD with Nesterov momentum."),
    outer_momentum: z.number().min(0).lt(1).default(OUTER.momentum).describe("With local_steps: its momentum."),
  })
  .prefault({})
  .describe("What ranks send each other, and when.");

/** What of a config decides whether ranks can take steps of their own. */
interface Asked {
  readonly communicator: z.output<typeof communicatorSchema>;
  readonly parallel: { readonly pipeline: number };
  readonly objective: {
    readonly name: ObjectiveName;
    readonly lmbda: number | null;
    readonly keep: { readonly data: unknown; readonly generate: unknown };
  };
  readonly data: { readonly validation: unknown };
  readonly eval_suite: unknown;
  readonly samples: { readonly prompts: unknown; readonly file: unknown };
  readonly save_every: number;
  readonly eval_every: number;
}

/** What does not go with local steps, or does nothing without them. */
export function wrongLocalSteps(asked: Asked, whole: string | undefined) {
  const { local_steps: steps, ...outer } = asked.communicator;
  if (steps === null) {
    const idle = outer.outer_lr !== OUTER.lr ? "outer_lr" : outer.outer_momentum !== OUTER.momentum && "outer_momentum";
    return idle
      ? { path: ["communicator", idle], message: "is the outer optimiser's, which communicator.local_steps asks for" }
      : undefined;
  }
  const { objective, parallel, data, samples: own } = asked;
  const evaluates = [data.validation, asked.eval_suite, own.prompts, own.file].some((asks) => asks !== null);
  const { rows } = OBJECTIVES[objective.name];
  const samples = rows === "prompts" || Boolean(objective.lmbda);
  const apart = `(communicator.local_steps is ${steps})`;
  const later = "is not a multiple of it: ranks have one adapter only where they agree";
  const needing: readonly (readonly [boolean, string[], string])[] = [
    [parallel.pipeline > 1, ["parallel", "pipeline"], "stages of one pipeline step together; set one of the two"],
    [
      samples,
      ["objective", "name"],
      "completions are sampled from one model, and between meetings each rank has another",
    ],
    [rows === "judged", ["objective", "name"], `${objective.name} goes by a mean over a whole step's rows`],
    [whole !== undefined, ["objective", "loss_type"], `${whole} compares all pairs of a step with each other`],
    [
      objective.keep.data !== null || objective.keep.generate !== null,
      ["objective", "keep"],
      "is a mean over a whole step's kept texts, of which a rank has a part",
    ],
    [asked.save_every % steps > 0, ["save_every"], `${asked.save_every} ${later}`],
    [evaluates && asked.eval_every % steps > 0, ["eval_every"], `${asked.eval_every} ${later}`],
  ];
  const found = needing.find(([isAsked]) => isAsked);
  return found && { path: found[1], message: `${found[2]} ${apart}` };
}

import type { RowKind } from "../../data/row.js";
import type { MicroBatch, Sample } from "../../data/sample.js";
import type { DistillSettings, DivergenceName } from "../../models/index.js";

/** A sequence and what the model says of it. */
export interface Scored {
  readonly sample: Sample;
  /** Log-probabilities of its marked tokens, in their order. */
  readonly logps: ArrayLike<number>;
  /** Entropies of its distributions at these tokens, in nats, where the objective asks for them and the model is trained. */
  readonly entropies?: ArrayLike<number>;
  /** Sum of the reference's over the answer; 0 where the objective has no reference. */
  readonly reference: number;
}

/** Numbers that are added up over all micro-batches of a step. */
export type Totals = Readonly<Record<string, number>>;

/** What an objective makes of a micro-batch. */
export interface Part {
  /** Its share in the loss of the whole step. */
  readonly loss: number;
  /** By sequence, the derivatives of the step's loss by its log-probabilities. */
  readonly weights: readonly ArrayLike<number>[];
  /** Sums and counts, of which the step's metrics are the means. */
  readonly metrics: Readonly<Record<string, readonly [sum: number, count: number]>>;
  /** Metrics of which a step's is the smallest and the largest of its micro-batches'. Default: there are none. */
  readonly extremes?: Readonly<Record<"least" | "most", Readonly<Record<string, number>>>>;
}

/** What sequences are made with. */
export interface SequenceOptions {
  /** Rows of a step. */
  readonly perStep: number;
  readonly eosId: number | undefined;
  readonly maxSeqLen: number;
}

/** What is learned from sequences. Means are over a whole step, whatever the micro-batches: what they are over is counted first. */
interface AnyObjective {
  /** It compares answers that the rows hold with what a reference says of them. */
  readonly usesReference: boolean;
  /** What a file's samples are trained on as. Default: as they are. */
  readonly sequences?: (samples: readonly Sample[], options: SequenceOptions) => readonly Sample[];
  /** What there is to say about samples, a sentence each without a full stop. */
  readonly remarks?: (samples: readonly Sample[]) => readonly string[];
  /** What of a micro-batch the means are taken over. */
  count(batch: MicroBatch): Totals;
}

/** The gradient is the sum over tokens of w_t d log pi(y_t), so such an objective only says what the loss and the w_t are. */
export interface ScoringObjective extends AnyObjective {
  /** What is measured on sequences of side "mismatched", through which no gradient flows, before all others. */
  readonly measure?: (scored: readonly Scored[]) => Totals;
  loss(scored: readonly Scored[], totals: Totals): Part;
  /** It wants to know the entropies. Default false. */
  readonly usesEntropies?: boolean;
  /** Where no w_t depends on a log-probability: every token's share in the loss, so that one pass does it all. */
  readonly share?: (totals: Totals) => number;
}

/** The loss is how far whole distributions are from a teacher's: the mean over all targets of a step, counted as `tokens`. */
export interface TaughtObjective extends AnyObjective {
  readonly lesson: DistillSettings;
}

export type Objective = ScoringObjective | TaughtObjective;

/** Whether whole distributions are learned, and not log-probabilities of targets. */
export const isTaught = (objective: Objective): objective is TaughtObjective => "lesson" in objective;

/** The keys of a config's section; each objective has its own defaults, and reads no others. */
export interface ObjectiveOptions {
  readonly beta: number;
  readonly lossType: string | readonly string[];
  readonly lossWeights: readonly number[];
  readonly labelSmoothing: number;
  readonly gamma: number;
  readonly desirableWeight: number;
  readonly undesirableWeight: number;
  readonly numGenerations: number;
  readonly numGenerationsEval: number | null;
  readonly maxCompletionLength: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly epsilon: number;
  readonly epsilonHigh: number | null;
  readonly delta: number | null;
  readonly importanceSamplingLevel: ImportanceSamplingLevel;
  readonly scaleRewards: boolean | ScaleRewards;
  readonly multiObjectiveAggregation: MultiObjectiveAggregation;
  readonly numIterations: number;
  readonly maskTruncatedCompletions: boolean;
  readonly useBiasCorrectionKl: boolean;
  /** What completions are rewarded for, each with settings of its own. */
  readonly rewards: readonly { readonly name: string }[];
  readonly discopopTau: number;
  readonly divergence: DivergenceName;
  readonly lmbda: number;
}

/** Whether a ratio to the model that sampled is each token's own, or the mean of its completion's. */
export const IMPORTANCE_SAMPLING_LEVELS = ["token", "sequence"] as const;
export type ImportanceSamplingLevel = (typeof IMPORTANCE_SAMPLING_LEVELS)[number];

/** Whose standard deviation rewards are divided by: that of the completions of a prompt, of a step, or none. */
export const SCALE_REWARDS = ["group", "batch", "none"] as const;
export type ScaleRewards = (typeof SCALE_REWARDS)[number];

/** Whether several rewards are added up and then scaled, or scaled each and then added up. */
export const AGGREGATIONS = ["sum_then_normalize", "normalize_then_sum"] as const;
export type MultiObjectiveAggregation = (typeof AGGREGATIONS)[number];

/** An entry of the table. */
export interface ObjectiveKind {
  /** For the config's reference. */
  readonly description: string;
  readonly rows: RowKind;
  readonly usesReference: boolean;
  /** It learns from a teacher, and reads `teacher` and `teacher_prompt`. Default false. */
  readonly usesTeacher?: boolean;
  /** The keys that it reads beside `reference`, with their defaults; null: it has no fixed one. */
  readonly defaults: Partial<ObjectiveOptions>;
  /** Keys that it reads too and that have no default. */
  readonly optional?: readonly (keyof ObjectiveOptions)[];
  /** What `loss_type` may be; several at once where its default is a list. */
  readonly lossTypes?: readonly string[];
  /** Those of them that compare a step's rows with each other, so that a step is one micro-batch. */
  readonly wholeSteps?: readonly string[];
  /** Throws UserError for values that do not go together. */
  readonly create: (options: ObjectiveOptions) => Objective;
}

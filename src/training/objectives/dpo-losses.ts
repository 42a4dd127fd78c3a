import { hingeLoss, logistic, logisticLoss, logLogistic, squareLoss } from "./math.js";
import type { Answer, Pair } from "./sequences.js";

export interface DpoOptions {
  readonly beta: number;
  readonly labelSmoothing: number;
  readonly discopopTau: number;
}

/** A pair's loss, with its derivatives by the log-ratios of the two answers. */
export interface PairLoss {
  readonly value: number;
  readonly chosen: number;
  readonly rejected: number;
}

type DpoLoss = (chosen: Answer, rejected: Answer, options: DpoOptions) => PairLoss;

/** A loss of the difference of log-ratios, from its value and its slope by that difference. */
const byDifference = (value: number, slope: number): PairLoss => ({ value, chosen: slope, rejected: -slope });

/** A loss of the difference of log-ratios per token. */
const byMeans = (chosen: Answer, rejected: Answer, value: number, slope: number): PairLoss => ({
  value,
  chosen: slope / chosen.tokens,
  rejected: -slope / rejected.tokens,
});

const difference = (chosen: Answer, rejected: Answer): number => chosen.ratio - rejected.ratio;
const meanDifference = (chosen: Answer, rejected: Answer): number =>
  chosen.ratio / chosen.tokens - rejected.ratio / rejected.tokens;

/** The logistic function and its slope. */
const curve = (x: number) => ({ value: logistic(x), slope: logistic(x) * logistic(-x) });

/** The losses of single pairs, by TRL's names (trl/trainer/dpo_trainer.py, `_compute_loss`). */
export const DPO_LOSSES = {
  /** Rafailov et al. 2023; with label smoothing, Mitchell's conservative DPO. */
  sigmoid: (c, r, { beta, labelSmoothing }) => {
    const { value, slope } = logisticLoss(beta * difference(c, r), labelSmoothing);
    return byDifference(value, beta * slope);
  },
  /** Zhao et al. 2023 (SLiC). */
  hinge: (c, r, { beta }) => {
    const { value, slope } = hingeLoss(beta * difference(c, r));
    return byDifference(value, beta * slope);
  },
  /** Azar et al. 2023, eq. 17, on means over tokens. */
  ipo: (c, r, { beta }) => {
    const { value, slope } = squareLoss(meanDifference(c, r), 1 / (2 * beta));
    return byMeans(c, r, value, slope);
  },
  sigmoid_norm: (c, r, { beta }) => {
    const { value, slope } = logisticLoss(beta * meanDifference(c, r));
    return byMeans(c, r, value, beta * slope);
  },
  /** Ji et al. 2024 (EXO), eq. 16, for two answers. */
  exo_pair: (c, r, { beta, labelSmoothing: e }) => {
    const x = beta * difference(c, r);
    const q = logistic(x);
    const [won, lost] = [logLogistic(x) - Math.log1p(-e), logLogistic(-x) - Math.log(e)];
    return byDifference(q * won + (1 - q) * lost, beta * q * (1 - q) * (won - lost));
  },
  /** Chowdhury et al. 2024: unbiased where a share e of the labels is wrong. */
  robust: (c, r, { beta, labelSmoothing: e }) => {
    const [right, flipped] = [1, -1].map((sign) => logisticLoss(sign * beta * difference(c, r)));
    const value = ((1 - e) * right!.value - e * flipped!.value) / (1 - 2 * e);
    return byDifference(value, (beta * ((1 - e) * right!.slope + e * flipped!.slope)) / (1 - 2 * e));
  },
  /** Chen et al. 2024 (NCA). */
  nca_pair: (c, r, { beta }) => {
    const [up, down, worse] = [beta * c.ratio, -beta * c.ratio, -beta * r.ratio].map((x) => logisticLoss(x));
    return {
      value: up!.value + 0.5 * down!.value + 0.5 * worse!.value,
      chosen: beta * (up!.slope - 0.5 * down!.slope),
      rejected: -0.5 * beta * worse!.slope,
    };
  },
  /** Jung et al. 2024 (BCO). */
  bco_pair: (c, r, { beta }) => {
    const [better, worse] = [logisticLoss(beta * c.ratio), logisticLoss(-beta * r.ratio)];
    return { value: better.value + worse.value, chosen: beta * better.slope, rejected: -beta * worse.slope };
  },
  /** Wu et al. 2024 (SPPO), with certain wins. */
  sppo_hard: (c, r, { beta }) => {
    const [better, worse] = [squareLoss(c.ratio, 0.5 / beta), squareLoss(r.ratio, -0.5 / beta)];
    return { value: better.value + worse.value, chosen: better.slope, rejected: worse.slope };
  },
  /** D'Oosterlinck et al. 2024 (APO), eq. 7. */
  apo_zero: (c, r, { beta }) => {
    const [better, worse] = [curve(beta * c.ratio), curve(beta * r.ratio)];
    return { value: 1 - better.value + worse.value, chosen: -beta * better.slope, rejected: beta * worse.slope };
  },
  /** The same, eq. 8. */
  apo_down: (c, r, { beta }) => {
    const [better, apart] = [curve(beta * c.ratio), curve(beta * difference(c, r))];
    return {
      value: better.value + 1 - apart.value,
      chosen: beta * (better.slope - apart.slope),
      rejected: beta * apart.slope,
    };
  },
  /** Lu et al. 2024 (DiscoPOP), eq. 5: the logistic loss and the exponential one, blended by the log-ratios. */
  discopop: (c, r, { beta, discopopTau: tau }) => {
    const x = beta * difference(c, r);
    const [plain, steep, blend] = [logisticLoss(x), Math.exp(-x), curve(x / tau)];
    const slope = plain.slope * (1 - blend.value) - steep * blend.value + ((steep - plain.value) * blend.slope) / tau;
    return byDifference(plain.value * (1 - blend.value) + steep * blend.value, beta * slope);
  },
} as const satisfies Record<string, DpoLoss>;

/**
 * Losses that compare the answers of a micro-batch with each other, in the order of size (Melnyk et al. 2024, AOT): the smallest of one
 * side with the smallest of the other, and so on.
 */
export const DPO_SORTED_LOSSES = {
  /** The model's margins with the reference's. */
  aot: (pairs, options) => {
    const own = inOrder(pairs, ({ chosen, rejected }) => chosen.logp - rejected.logp);
    const theirs = inOrder(pairs, ({ chosen, rejected }) => chosen.scored.reference - rejected.scored.reference);
    const found: PairLoss[] = [];
    for (const [rank, { at, value }] of own.entries()) {
      const { value: loss, slope } = sortedLoss(value - theirs[rank]!.value, options);
      found[at] = byDifference(loss, slope);
    }
    return found;
  },
  /** The log-ratios of the better answers with those of the worse. */
  aot_unpaired: (pairs, options) => {
    const better = inOrder(pairs, ({ chosen }) => chosen.ratio);
    const worse = inOrder(pairs, ({ rejected }) => rejected.ratio);
    const losses = better.map(({ value }, rank) => sortedLoss(value - worse[rank]!.value, options));
    const found = pairs.map(() => ({ value: 0, chosen: 0, rejected: 0 }));
    for (const [rank, { value, slope }] of losses.entries()) {
      found[better[rank]!.at]!.value = value;
      found[better[rank]!.at]!.chosen = slope;
      found[worse[rank]!.at]!.rejected = -slope;
    }
    return found;
  },
} as const satisfies Record<string, (pairs: readonly Pair[], options: DpoOptions) => readonly PairLoss[]>;

const sortedLoss = (difference: number, { beta, labelSmoothing }: DpoOptions) => {
  const { value, slope } = logisticLoss(beta * difference, labelSmoothing);
  return { value, slope: beta * slope };
};

/** Values of pairs from the smallest on, with the place of each among the pairs. */
const inOrder = (pairs: readonly Pair[], of: (pair: Pair) => number) =>
  pairs.map((pair, at) => ({ at, value: of(pair) })).sort((a, b) => a.value - b.value);

/** The losses of pairs, in their order, by any type but `CHOSEN_TOKENS`. */
export function pairLosses(type: string, pairs: readonly Pair[], options: DpoOptions): readonly PairLoss[] {
  if (type in DPO_SORTED_LOSSES) return DPO_SORTED_LOSSES[type as keyof typeof DPO_SORTED_LOSSES](pairs, options);
  const loss = DPO_LOSSES[type as keyof typeof DPO_LOSSES];
  return pairs.map(({ chosen, rejected }) => loss(chosen, rejected, options));
}

/** Cross entropy of the chosen answers, over their tokens: together with "sigmoid", RPO (Pang et al. 2024). */
export const CHOSEN_TOKENS = "sft";

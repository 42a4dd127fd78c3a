/** The logistic function. */
export const logistic = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

/** log of the logistic function. */
export const logLogistic = (x: number): number => Math.min(0, x) - Math.log1p(Math.exp(-Math.abs(x)));

/** A function's value with its derivative. */
export interface Slope {
  readonly value: number;
  readonly slope: number;
}

/** -log s(x), or with label smoothing e: (1 - e) parts of it and e parts of -log s(-x). */
export function logisticLoss(x: number, smoothing = 0): Slope {
  return {
    value: -(1 - smoothing) * logLogistic(x) - smoothing * logLogistic(-x),
    slope: -(1 - smoothing) * logistic(-x) + smoothing * logistic(x),
  };
}

/** max(0, 1 - x). */
export const hingeLoss = (x: number): Slope => ({ value: Math.max(0, 1 - x), slope: x < 1 ? -1 : 0 });

/** (x - target)^2. */
export const squareLoss = (x: number, target: number): Slope => ({ value: (x - target) ** 2, slope: 2 * (x - target) });

/** The factor on the peak learning rate at optimiser step `step` (from 0), after a warm-up, of `total` steps. */
type Decay = (step: number, warmup: number, total: number) => number;

/**
 * Learning-rate schedules, with the values of transformers' `get_{constant,linear,cosine}_schedule_with_warmup`
 * (src/transformers/optimization.py); cosine is half a period.
 */
export const SCHEDULES = {
  constant: () => 1,
  linear: (step, warmup, total) => Math.max(0, (total - step) / Math.max(1, total - warmup)),
  cosine: (step, warmup, total) => {
    const progress = (step - warmup) / Math.max(1, total - warmup);
    return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
  },
} as const satisfies Record<string, Decay>;

export type ScheduleName = keyof typeof SCHEDULES;

export const SCHEDULE_NAMES = Object.keys(SCHEDULES) as [ScheduleName, ...ScheduleName[]];

/**
 * The learning rate of optimiser step `step`, counted from 0 (so step 0 of a warm-up has rate 0), in a run of
 * `totalSteps`: rises linearly over `warmupSteps`, then follows the schedule.
 */
export function learningRate(
  step: number,
  options: { name: ScheduleName; lr: number; warmupSteps: number; totalSteps: number },
): number {
  const { name, lr, warmupSteps, totalSteps } = options;
  if (step < warmupSteps) return (lr * step) / warmupSteps;
  const decay: Decay = SCHEDULES[name];
  return lr * decay(step, warmupSteps, totalSteps);
}

import { isEval, type Metrics, metricsRow } from "../../training/metrics.js";

/** A row's figures by the names that transformers' callbacks give them: `train/loss`, `eval/loss`. What is not finite is left out. */
export function figuresOf(row: Metrics): Record<string, number> {
  const { step: _, ...figures } = metricsRow(row);
  const name = (key: string) => (isEval(row) ? `eval/${key.replace(/^eval_/, "")}` : `train/${key}`);
  const finite = Object.entries(figures).filter(([, value]) => Number.isFinite(value));
  return Object.fromEntries(finite.map(([key, value]) => [name(key), value]));
}

import { textTable } from "../suite/show.js";
import { pointName, valueText } from "./grid.js";
import type { SweepPoint } from "./state.js";
import type { SweepResult } from "./sweep.js";

/** The figures that any point has, in their order, and how a table's head calls them. */
export function figureNames(points: readonly SweepPoint[]): string[] {
  return [...new Set(points.flatMap(({ figures }) => Object.keys(figures)))];
}

/** `facts` of `eval_suite/facts`. */
export const shortName = (name: string): string => name.replace(/^eval_suite\//, "").replace(/^eval_/, "validation ");

/** A figure as a table shows it. */
export const figureText = (value: number | undefined): string =>
  value === undefined ? "-" : value === 0 ? "0" : String(Number(value.toPrecision(4)));

/** Points as rows of text: the swept keys, the figures, how many parameters were trained, seconds; the best with a mark. */
export function sweepRows({ keys, points, best, metric }: SweepResult): string[][] {
  const names = figureNames(points);
  const head = names.map((name) => (name === `eval_${metric.name}` ? `${shortName(name)} *` : shortName(name)));
  return [
    ["", ...keys, ...head, "parameters", "steps", "seconds"],
    ...points.map((point) => [
      point === best ? "best" : "",
      ...keys.map((key) => valueText(point.values[key])),
      ...names.map((name) => figureText(point.figures[name])),
      point.trainableParameters.toLocaleString("en-US"),
      String(point.steps),
      point.seconds.toFixed(1),
    ]),
  ];
}

/** The same as a table of plain text, and which is best by what. */
export function sweepTable(result: SweepResult): string {
  const { metric, best, bestConfig, points, total } = result;
  const done = points.length < total ? `${points.length} of ${total} points are done\n` : "";
  if (points.length === 0) return done;
  const by = `eval_${metric.name}, ${metric.better} is better`;
  const end = best
    ? `best by ${by}: ${pointName(best.values)} (${bestConfig})\n`
    : `no point has a finite figure to go by (${by})\n`;
  return `${textTable(sweepRows(result))}${done}${end}`;
}

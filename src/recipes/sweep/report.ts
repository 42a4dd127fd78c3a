import { escapeText } from "../../training/metrics-chart.js";
import { htmlPage } from "../page.js";
import { figureChart, legend } from "./chart.js";
import { pointName, valueText } from "./grid.js";
import { figureNames, sweepRows } from "./show.js";
import { SWEEP, type SweepPoint } from "./state.js";
import type { SweepResult } from "./sweep.js";

/** A sweep as one HTML page: the table of its points, and every figure over every key. Links lead to the suite's page of each point. */
export function sweepReport(result: SweepResult): string {
  const { base, suite, metric, points, total, best, keys } = result;
  const by = `eval_${metric.name}, ${metric.better} is better`;
  return htmlPage(`Sweep of ${keys.join(", ")}`, [
    `<p class="small">base ${escapeText(base)}${suite === undefined ? "" : `, suite ${escapeText(suite)}`}; ${points.length} of ${total} points</p>`,
    best
      ? `<p>Best by ${escapeText(by)}: <b>${escapeText(pointName(best.values))}</b> (<a href="${SWEEP.best}">${SWEEP.best}</a>)</p>`
      : `<p>No point has a finite figure to go by (${escapeText(by)}).</p>`,
    pointTable(result),
    ...keys.flatMap((key) => charts(points, key)),
  ]);
}

function pointTable(result: SweepResult): string {
  const [head, ...rows] = sweepRows(result);
  const cells = (row: readonly string[], { number }: SweepPoint) => {
    const link = result.suite === undefined ? `${number}` : `<a href="point-${number}/${SWEEP.suite}">${number}</a>`;
    return `<td class="number">${link}</td>${row.map((cell) => `<td class="number">${escapeText(cell)}</td>`).join("")}`;
  };
  const body = rows.map((row, i) => `<tr>${cells(row, result.points[i]!)}</tr>`);
  return `<table><tr><th>point</th>${head!.map((cell) => `<th>${escapeText(cell)}</th>`).join("")}</tr>\n${body.join("\n")}</table>`;
}

/** Every figure over a key that has several values. */
function charts(points: readonly SweepPoint[], key: string): string[] {
  if (new Set(points.map(({ values }) => valueText(values[key]))).size < 2) return [];
  const drawn = figureNames(points).map((figure) => figureChart(points, figure, key));
  return [`<h2>${escapeText(key)}</h2>`, legend(points, key), ...drawn];
}

import { isEval, type Metrics } from "./metrics.js";

const WIDTH = 720;
const HEIGHT = 400;
const MARGIN = { left: 64, right: 16, top: 36, bottom: 44 };
const LINES = { training: "#2563eb", validation: "#dc2626" };

type Point = readonly [step: number, loss: number];

/** A chart of training and validation loss over steps, as a complete SVG document. Rows without a finite loss are left out. */
export function lossChart(rows: readonly Metrics[], title = "Loss"): string {
  const finite = (points: Point[]) => points.filter(([, loss]) => Number.isFinite(loss));
  const series = {
    training: finite(rows.flatMap((row) => (isEval(row) ? [] : [[row.step, row.loss] as const]))),
    validation: finite(rows.flatMap((row) => (isEval(row) ? [[row.step, row.evalLoss ?? Number.NaN] as const] : []))),
  };
  const all = [...series.training, ...series.validation];
  const lastStep = Math.max(1, ...all.map(([step]) => step));
  const ticks = niceTicks(Math.max(1e-6, ...all.map(([, loss]) => loss)));
  const top = ticks.at(-1)!;
  const x = (step: number) => MARGIN.left + (step / lastStep) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (loss: number) => HEIGHT - MARGIN.bottom - (loss / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const stepTicks = niceTicks(lastStep).filter((step) => step <= lastStep && Number.isInteger(step));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<text x="${MARGIN.left}" y="22" font-size="15">${escapeText(title)}</text>`,
    ...ticks.map(
      (loss) =>
        `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${fix(y(loss))}" y2="${fix(y(loss))}" stroke="#e5e7eb"/>` +
        `<text x="${MARGIN.left - 8}" y="${fix(y(loss) + 4)}" text-anchor="end">${label(loss)}</text>`,
    ),
    ...stepTicks.map(
      (step) =>
        `<text x="${fix(x(step))}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle">${label(step)}</text>`,
    ),
    `<text x="${(WIDTH + MARGIN.left) / 2}" y="${HEIGHT - 8}" text-anchor="middle">optimiser step</text>`,
    ...Object.entries(series).flatMap(([name, points], i) => drawSeries(name as keyof typeof LINES, points, i, x, y)),
    "</svg>",
    "",
  ].join("\n");
}

function drawSeries(
  name: keyof typeof LINES,
  points: readonly Point[],
  index: number,
  x: (step: number) => number,
  y: (loss: number) => number,
): string[] {
  if (points.length === 0) return [];
  const color = LINES[name];
  const path = points.map(([step, loss]) => `${fix(x(step))},${fix(y(loss))}`).join(" ");
  const dots = points.length > 60 ? [] : points;
  return [
    `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`,
    ...dots.map(([step, loss]) => `<circle cx="${fix(x(step))}" cy="${fix(y(loss))}" r="2" fill="${color}"/>`),
    `<text x="${WIDTH - MARGIN.right - 90 * (index + 1)}" y="22" fill="${color}">${name}</text>`,
  ];
}

/** 0, and steps of 1, 2 or 5 times a power of ten up to at least `largest`: four to eight of them. */
export function niceTicks(largest: number): number[] {
  const rough = largest / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough)!;
  return Array.from({ length: Math.ceil(largest / step - 1e-9) + 1 }, (_, i) => i * step);
}

function label(value: number): string {
  return String(Number(value.toPrecision(6)));
}

function fix(value: number): string {
  return value.toFixed(1);
}

/** Text inside a chart. */
export function escapeText(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

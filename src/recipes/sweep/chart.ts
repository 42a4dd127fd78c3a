import { escapeText, niceTicks } from "../../training/metrics-chart.js";
import { pointName, valueText } from "./grid.js";
import { figureText, shortName } from "./show.js";
import type { SweepPoint } from "./state.js";

const [WIDTH, HEIGHT] = [520, 300];
const MARGIN = { left: 56, right: 16, top: 36, bottom: 44 };
const INKS = ["#2563eb", "#dc2626", "#15803d", "#9333ea", "#b45309", "#0891b2", "#be185d", "#4b5563"];

/** Where the values of a key stand, from 0 to 1: numbers by their size, on a doubling scale where they lie far apart; else side by side. */
export function placesOf(values: readonly unknown[]): ReadonlyMap<string, number> {
  const distinct = [...new Map(values.map((value) => [valueText(value), value])).values()];
  const isNumber = distinct.every((value) => typeof value === "number");
  const sorted = isNumber ? (distinct as number[]).sort((a, b) => a - b) : distinct;
  const [least, most] = [sorted[0] as number, sorted.at(-1) as number];
  const scale = isNumber && least > 0 && most / least >= 4 ? Math.log2 : (x: number) => x;
  const span = isNumber ? scale(most) - scale(least) : sorted.length - 1;
  return new Map(
    sorted.map((value, i) => {
      const at = isNumber ? scale(value as number) - scale(least) : i;
      return [valueText(value), span > 0 ? at / span : 0.5];
    }),
  );
}

/** A line of the chart: the points that differ in the chart's key alone. */
interface Line {
  readonly name: string;
  readonly points: readonly SweepPoint[];
}

function linesOf(points: readonly SweepPoint[], key: string): Line[] {
  const lines = new Map<string, SweepPoint[]>();
  for (const point of points) {
    const { [key]: _, ...others } = point.values;
    const name = pointName(others);
    lines.set(name, [...(lines.get(name) ?? []), point]);
  }
  return [...lines].map(([name, own]) => ({ name, points: own }));
}

/** A figure over the values of one key, a line for each combination of the other keys, as an SVG element. */
export function figureChart(points: readonly SweepPoint[], figure: string, key: string): string {
  const there = points.filter(({ figures }) => figures[figure] !== undefined);
  const places = placesOf(there.map(({ values }) => values[key]));
  const ticks = niceTicks(Math.max(1e-6, ...there.map(({ figures }) => figures[figure]!)));
  const top = ticks.at(-1)!;
  const x = (point: SweepPoint) => across(places.get(valueText(point.values[key]))!);
  const y = (value: number) =>
    (HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom)).toFixed(1);
  const lines = linesOf(there, key);
  return [
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" font-family="sans-serif" font-size="11">`,
    `<text x="${MARGIN.left}" y="18" font-size="13">${escapeText(shortName(figure))}</text>`,
    ...ticks.map(
      (tick) =>
        `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(tick)}" y2="${y(tick)}" stroke="#e5e7eb"/>` +
        `<text x="${MARGIN.left - 8}" y="${y(tick)}" dy="4" text-anchor="end">${figureText(tick)}</text>`,
    ),
    ...[...places].map(
      ([name, place]) =>
        `<text x="${across(place)}" y="${HEIGHT - MARGIN.bottom + 16}" text-anchor="middle">${escapeText(short(name))}</text>`,
    ),
    `<text x="${WIDTH / 2}" y="${HEIGHT - 8}" text-anchor="middle">${escapeText(key)}</text>`,
    ...lines.flatMap((line, i) => drawn(line, INKS[i % INKS.length]!, { figure, x, y, places, key })),
    "</svg>",
  ].join("\n");
}

/** What the lines of the charts over a key are. */
export function legend(points: readonly SweepPoint[], key: string): string {
  const lines = linesOf(points, key);
  if (lines.length < 2) return "";
  const names = lines.map(({ name }, i) => `<span style="color: ${INKS[i % INKS.length]}">${escapeText(name)}</span>`);
  return `<p class="small">${names.join(" &nbsp; ")}</p>`;
}

const across = (place: number): string =>
  (MARGIN.left + 12 + place * (WIDTH - MARGIN.left - MARGIN.right - 24)).toFixed(1);

const short = (text: string): string => (text.length > 18 ? `${text.slice(0, 17)}…` : text);

function drawn(
  { points }: Line,
  ink: string,
  {
    figure,
    x,
    y,
    places,
    key,
  }: {
    readonly figure: string;
    readonly x: (point: SweepPoint) => string;
    readonly y: (value: number) => string;
    readonly places: ReadonlyMap<string, number>;
    readonly key: string;
  },
): string[] {
  const place = (point: SweepPoint) => places.get(valueText(point.values[key]))!;
  const sorted = [...points].sort((a, b) => place(a) - place(b));
  const at = sorted.map((point) => [x(point), y(point.figures[figure]!), point] as const);
  return [
    `<polyline points="${at.map(([px, py]) => `${px},${py}`).join(" ")}" fill="none" stroke="${ink}" stroke-width="1.5"/>`,
    ...at.map(
      ([px, py, point]) =>
        `<circle cx="${px}" cy="${py}" r="3" fill="${ink}"><title>${escapeText(pointName(point.values))}: ${figureText(point.figures[figure])}</title></circle>`,
    ),
  ];
}

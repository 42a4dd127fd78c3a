import { escapeText, niceTicks } from "../../training/metrics-chart.js";
import type { Figure } from "./figures.js";
import type { ScalePoint, ScaleScan } from "./scale.js";

const WIDTH = 720;
const PANEL = 280;
const MARGIN = { left: 64, right: 24, top: 56, bottom: 44 };

/** A line of the chart: what of a point it shows. */
interface Line {
  readonly name: string;
  readonly ink: string;
  readonly of: (point: ScalePoint) => number | undefined;
}

const tuned = ({ figures }: ScalePoint, key: string): Figure["after"] => figures.find((one) => one.key === key)?.after;
const share = (key: string) => (point: ScalePoint) => {
  const value = tuned(point, key);
  return typeof value === "object" ? value.count / value.total : undefined;
};
const number = (key: string) => (point: ScalePoint) => tuned(point, key) as number | undefined;

const SHARES: readonly Line[] = [
  { name: "facts", ink: "#2563eb", of: share("facts") },
  { name: "over-refusal", ink: "#0891b2", of: share("over_refusal") },
  { name: "invented", ink: "#dc2626", of: share("invented") },
  { name: "general", ink: "#15803d", of: share("general") },
  { name: "behaviour", ink: "#9333ea", of: share("behaviour") },
  { name: "score", ink: "#111827", of: ({ score }) => score },
];
const TEXTS: readonly Line[] = [
  { name: "perplexity", ink: "#b45309", of: number("perplexity") },
  { name: "KL", ink: "#6b7280", of: number("kl") },
];

/** What a suite finds over the scale of an adapter, as a complete SVG document: shares, and each measure of the general texts. */
export function scaleChart({ points, best }: ScaleScan, title: string): string {
  const there = ({ of }: Line) => points.some((point) => of(point) !== undefined);
  const panels = [SHARES.filter(there), ...TEXTS.filter(there).map((line) => [line])];
  const height = PANEL * panels.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    `<text x="${MARGIN.left}" y="20" font-size="15">${escapeText(title)}: best at ${best}</text>`,
    ...panels.map((lines, i) => panel(lines, points, best, i * PANEL)),
    "</svg>",
    "",
  ].join("\n");
}

function panel(lines: readonly Line[], points: readonly ScalePoint[], best: number, from: number): string {
  const sorted = [...points].sort((a, b) => a.scale - b.scale);
  const [least, most] = [sorted[0]!.scale, sorted.at(-1)!.scale];
  const values = lines.flatMap(({ of }) => sorted.flatMap((point) => of(point) ?? []));
  const top = Math.max(...niceTicks(Math.max(1e-6, ...values)));
  const [bottom, room] = [from + PANEL - MARGIN.bottom, PANEL - MARGIN.top - MARGIN.bottom];
  const x = (scale: number) =>
    (MARGIN.left + ((scale - least) / Math.max(1e-9, most - least)) * (WIDTH - MARGIN.left - MARGIN.right)).toFixed(1);
  const y = (value: number) => (bottom - (value / top) * room).toFixed(1);
  const ticks = niceTicks(top).map(
    (tick) =>
      `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(tick)}" y2="${y(tick)}" stroke="#e5e7eb"/>` +
      `<text x="${MARGIN.left - 8}" y="${y(tick)}" dy="4" text-anchor="end">${Number(tick.toPrecision(4))}</text>`,
  );
  const scales = sorted.map(
    ({ scale }) => `<text x="${x(scale)}" y="${bottom + 18}" text-anchor="middle">${scale}</text>`,
  );
  return [
    ...ticks,
    ...scales,
    `<line x1="${x(best)}" x2="${x(best)}" y1="${bottom}" y2="${bottom - room}" stroke="#9ca3af" stroke-dasharray="4 4"/>`,
    `<text x="${WIDTH / 2}" y="${bottom + 36}" text-anchor="middle">scale of the adapter</text>`,
    ...lines.flatMap((line, i) => drawn(line, sorted, x, y, { left: MARGIN.left + i * 96, top: from + 42 })),
  ].join("\n");
}

function drawn(
  { name, ink, of }: Line,
  points: readonly ScalePoint[],
  x: (scale: number) => string,
  y: (value: number) => string,
  at: { readonly left: number; readonly top: number },
): string[] {
  const places = points.flatMap((point) => {
    const value = of(point);
    return value === undefined ? [] : [`${x(point.scale)},${y(value)}`];
  });
  const dots = places.map((place) => {
    const [cx, cy] = place.split(",");
    return `<circle cx="${cx}" cy="${cy}" r="2.5" fill="${ink}"/>`;
  });
  return [
    `<polyline points="${places.join(" ")}" fill="none" stroke="${ink}" stroke-width="1.5"/>`,
    ...dots,
    `<text x="${at.left}" y="${at.top}" fill="${ink}">${name}</text>`,
  ];
}

import { escapeText, niceTicks } from "../training/metrics-chart.js";

/** Loss of the base with an extracted adapter cut to a rank; rank 0 is the base alone. */
export interface RankLoss {
  readonly rank: number;
  readonly loss: number;
}

const WIDTH = 720;
const PANEL = 260;
const MARGIN = { left: 64, right: 24, top: 40, bottom: 44 };
const INK = { energy: "#2563eb", loss: "#dc2626", tuned: "#6b7280" };

type Point = readonly [rank: number, value: number];

/**
 * What each rank keeps of the difference of two models, and what it is worth: the share of energy, and beneath it the loss
 * where there is any, over ranks on a doubling scale. A complete SVG document.
 */
export function rankChart(
  energy: readonly { readonly rank: number; readonly share: number }[],
  losses: readonly RankLoss[],
  { title, tunedLoss }: { readonly title: string; readonly tunedLoss?: number },
): string {
  const most = Math.max(...energy.map(({ rank }) => rank), ...losses.map(({ rank }) => rank));
  const ranks = [...new Set([...(losses.length > 0 ? [0] : []), ...energy.map(({ rank }) => rank)])];
  const panels = [
    panel(
      0,
      "share of the difference's energy",
      ranks,
      most,
      1,
      energy.map(({ rank, share }) => [rank, share]),
      INK.energy,
    ),
    ...(losses.length === 0
      ? []
      : [
          panel(
            PANEL,
            "loss",
            ranks,
            most,
            undefined,
            losses.map(({ rank, loss }) => [rank, loss]),
            INK.loss,
            tunedLoss,
          ),
        ]),
  ];
  const height = PANEL * panels.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    `<text x="${MARGIN.left}" y="18" font-size="15">${escapeText(title)}</text>`,
    ...panels,
    "</svg>",
    "",
  ].join("\n");
}

function panel(
  from: number,
  name: string,
  ranks: readonly number[],
  most: number,
  top: number | undefined,
  points: readonly Point[],
  ink: string,
  level?: number,
): string {
  const ticks = niceTicks(top ?? Math.max(1e-6, ...points.map(([, value]) => value), level ?? 0));
  const highest = top ?? ticks.at(-1)!;
  // Rank 0 stands one doubling before rank 1.
  const place = (rank: number) => (rank === 0 ? 0 : Math.log2(rank) + 1);
  const width = WIDTH - MARGIN.left - MARGIN.right;
  const x = (rank: number) => (MARGIN.left + (place(rank) / Math.max(1, place(most))) * width).toFixed(1);
  const y = (value: number) =>
    (from + PANEL - MARGIN.bottom - (value / highest) * (PANEL - MARGIN.top - MARGIN.bottom)).toFixed(1);
  const number = (value: number) => String(Number(value.toPrecision(4)));
  return [
    ...ticks
      .filter((tick) => tick <= highest)
      .map(
        (tick) =>
          `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(tick)}" y2="${y(tick)}" stroke="#e5e7eb"/>` +
          `<text x="${MARGIN.left - 8}" y="${y(tick)}" dy="4" text-anchor="end">${number(tick)}</text>`,
      ),
    ...ranks.map(
      (rank) =>
        `<text x="${x(rank)}" y="${from + PANEL - MARGIN.bottom + 18}" text-anchor="middle">${rank === 0 ? "base" : rank}</text>`,
    ),
    `<text x="${(WIDTH + MARGIN.left) / 2}" y="${from + PANEL - 8}" text-anchor="middle">rank</text>`,
    `<text x="${WIDTH - MARGIN.right}" y="${from + 32}" text-anchor="end" fill="${ink}">${escapeText(name)}</text>`,
    ...(level === undefined
      ? []
      : [
          `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(level)}" y2="${y(level)}" stroke="${INK.tuned}" stroke-dasharray="4 4"/>`,
          `<text x="${WIDTH - MARGIN.right}" y="${y(level)}" dy="-4" text-anchor="end" fill="${INK.tuned}">tuned model</text>`,
        ]),
    `<polyline points="${points.map(([rank, value]) => `${x(rank)},${y(value)}`).join(" ")}" fill="none" stroke="${ink}" stroke-width="1.5"/>`,
    ...points.map(
      ([rank, value]) =>
        `<circle cx="${x(rank)}" cy="${y(value)}" r="2.5" fill="${ink}"><title>rank ${rank}: ${number(value)}</title></circle>`,
    ),
  ].join("\n");
}

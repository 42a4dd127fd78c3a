// The bench's tables and plots.
import { GENERATION, METRICS } from "./cases.js";

/** A Markdown table: a line a side and case, with lowrank's shares of the other side's figures. */
export function comparisonTable(results, { date, machine, versions, threads, rounds }) {
  const used = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `SmolLM2-135M's shape, r = 8 on q_proj and v_proj, ${threads} threads; medians of ${rounds} rounds in turns, fresh processes.`,
    `${date}, ${machine.cpu}, ${machine.cores} cores; ${used.join(", ")}.`,
    "",
    "| case | side | tokens/s | peak memory | first step after | lowrank against it |",
    "| --- | --- | --- | --- | --- | --- |",
    ...results.flatMap(({ name, medians, ratios }) =>
      Object.entries(medians).map(([side, m], i) => caseLine(i ? "" : name, side, m, ratios[side])),
    ),
    "",
    ...results.flatMap(({ name, missed }) => missed.map((what) => `Missed in ${name}: ${what}`)),
    "",
  ].join("\n");
}

function caseLine(name, side, m, shares = {}) {
  const against = Object.entries(shares).map(([metric, share]) => `${share.toFixed(2)} x ${METRICS[metric]}`);
  const rate = (m.tokens_per_second ?? m.tokens_per_second_best).toFixed(0);
  const first = m.seconds_to_first_step === undefined ? "" : `${m.seconds_to_first_step.toFixed(1)} s`;
  return `| ${name} | ${side} | ${rate} | ${gigabytes(m.peak_rss)} | ${first} | ${against.join(", ")} |`;
}

/** Tokens/s and peak memory of one row a step, by the row's length. */
export function lengthTable(points) {
  if (!points.length) return "";
  const sides = sidesOf(points);
  const cell = (r) => (r ? `${r.tokens_per_second.toFixed(0)} tokens/s, ${gigabytes(r.peak_rss)}` : "");
  return [
    `| tokens in a row | ${sides.join(" | ")} |`,
    `| --- |${" --- |".repeat(sides.length)}`,
    ...points.map((p) => `| ${p.length} | ${sides.map((side) => cell(p[side])).join(" | ")} |`),
    "",
  ].join("\n");
}

/** The two plots, as SVG by file name. */
export function lengthCharts(points) {
  if (!points.length) return {};
  return {
    "tokens-per-second": chart(points, "tokens/s by tokens in a row", (r) => r.tokens_per_second),
    "peak-memory": chart(points, "peak memory (GB) by tokens in a row", (r) => r.peak_rss / 1e9),
  };
}

const sidesOf = (points) => [...new Set(points.flatMap((p) => Object.keys(p).filter((key) => key !== "length")))];
const COLORS = ["#2563eb", "#0891b2", "#dc2626", "#7c3aed"];
const BOX = { left: 60, top: 50, width: 600, height: 280 };

function chart(points, title, value) {
  const sides = sidesOf(points);
  const highest = Math.max(...points.flatMap((p) => sides.flatMap((side) => (p[side] ? [value(p[side])] : []))));
  const x = (i) => (BOX.left + (BOX.width * i) / Math.max(1, points.length - 1)).toFixed(1);
  const y = (v) => (BOX.top + BOX.height * (1 - v / highest)).toFixed(1);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => share * highest);
  const line = (side, color, i) => {
    const at = points.flatMap((p, k) => (p[side] ? [`${x(k)},${y(value(p[side]))}`] : []));
    return (
      `<polyline fill="none" stroke="${color}" stroke-width="2" points="${at.join(" ")}"/>` +
      `<text x="${BOX.left + i * 190}" y="42" fill="${color}">${side}</text>`
    );
  };
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 380" font-family="sans-serif" font-size="12">`,
    `<rect width="700" height="380" fill="white"/><text x="${BOX.left}" y="22" font-size="15">${title}</text>`,
    ...ticks.map(
      (v) =>
        `<line x1="${BOX.left}" x2="${BOX.left + BOX.width}" y1="${y(v)}" y2="${y(v)}" stroke="#e5e7eb"/>` +
        `<text x="${BOX.left - 8}" y="${y(v)}" text-anchor="end">${v < 10 ? v.toFixed(1) : v.toFixed(0)}</text>`,
    ),
    ...points.map(
      (p, i) => `<text x="${x(i)}" y="${BOX.top + BOX.height + 20}" text-anchor="middle">${p.length}</text>`,
    ),
    ...sides.map((side, i) => line(side, COLORS[i % COLORS.length], i)),
    "</svg>",
    "",
  ].join("\n");
}

const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(2)} GB`;

/** Generation's figures and what was missed. */
export function generationTable(result) {
  if (!result) return "";
  const { tokens_per_second: rate, copy_bytes_per_second: copy } = result;
  const llama = result.llama_cpp_tokens_per_second;
  const line = (what, value) => `| ${what} | ${value} |`;
  return [
    `Generation, ${result.model}, ${result.threads} threads; a copy moved ${(copy / 1e9).toFixed(1)} GB/s.`,
    "",
    "| | |",
    "| --- | --- |",
    line("one text, fp32", `${rate.none.toFixed(1)} tokens/s: ${result.f32_share.toFixed(2)} of the copy`),
    line("8 bits", `${rate.int8.toFixed(1)} tokens/s: ${result.int8_to_f32.toFixed(2)} x fp32`),
    line("4 bits", `${rate.int4.toFixed(1)} tokens/s: ${result.int4_to_f32.toFixed(2)} x fp32`),
    ...(llama ? [line("llama.cpp on the same file", `${llama.toFixed(1)} tokens/s`)] : []),
    line(`${result.texts} texts, one adapter`, `${result.tokens_per_second_batched.toFixed(1)} tokens/s`),
    line("eight adapters against one", result.eight_adapters_to_one.toFixed(2)),
    "",
    ...generationMissed(result).map((what) => `Missed: ${what}`),
    "",
  ].join("\n");
}

export function generationMissed(result) {
  return Object.entries(GENERATION).flatMap(([metric, least]) =>
    result && result[metric] < least ? [`${metric}: ${result[metric].toFixed(2)}, target ${least}`] : [],
  );
}

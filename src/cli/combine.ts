import { COMBINE_METHODS } from "../export/combine.js";
import { LINEARS, type LinearName } from "../models/config.js";
import { combine, type ExtractReport, extract } from "../recipes/combine.js";
import type { RankLoss } from "../recipes/rank-chart.js";
import { nearest } from "../tensor/index.js";
import type { Action, Options } from "./io.js";
import { choiceOption, numberOption } from "./option-values.js";
import { inert } from "./preview-text.js";
import { usageError } from "./usage.js";
import { withReport } from "./with-platform.js";

export const combineVerb: Action = async (_args, options, io) => {
  const paths = options.adapter as readonly string[];
  const weights = weightsOf(options.weights as string | undefined, paths.length);
  const request = {
    adapters: paths.map((path, i) => ({ path, weight: weights[i]! })),
    method: choiceOption(options, "method", COMBINE_METHODS),
    output: options.output as string,
    seed: numberOption(options, "seed", { whole: true }),
    ...(options.base === undefined ? {} : { base: options.base as string }),
    ...(options.density === undefined ? {} : { density: numberOption(options, "density", { most: 1 }) }),
    ...(options.rank === undefined ? {} : { rank: numberOption(options, "rank", { least: 1, whole: true }) }),
    ...(options.majoritySign === undefined ? {} : { majoritySign: signOf(options.majoritySign) }),
  };
  return withReport(options, io, async (platform) => {
    const report = await combine(request, platform);
    const text = `${report.output}: ${report.method} of ${paths.length} adapters, rank ${report.r} on ${report.targetModules.join(", ")}\n`;
    return { report, text };
  });
};

export const extractVerb: Action = async (_args, options, io) => {
  const targets = options.targets as string | undefined;
  const request = {
    base: options.base as string,
    tuned: options.tuned as string,
    output: options.output as string,
    r: numberOption(options, "rank", { least: 1, whole: true }),
    seed: numberOption(options, "seed", { whole: true }),
    ...(targets === undefined ? {} : { targetModules: linears(targets) }),
    ...(options.report === undefined ? {} : { report: options.report as string }),
    ...(options.data === undefined ? {} : { data: options.data as string }),
    ...(options.rankPattern === undefined ? {} : { rankPattern: ranksOf(options.rankPattern as string) }),
  };
  return withReport(options, io, async (platform) => {
    const report = await extract(request, platform);
    return { report: { ...report, warnings: [] }, text: energyText(report) };
  });
};

function weightsOf(text: string | undefined, count: number): number[] {
  if (text === undefined) return new Array<number>(count).fill(1);
  const weights = text.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (weights.length === count && weights.every(Number.isFinite)) return weights;
  throw usageError(`--weights: expected ${count} numbers separated by commas, one an adapter, got '${text}'`);
}

function signOf(value: Options[string]): "total" | "frequency" {
  if (value === "total" || value === "frequency") return value;
  throw usageError(`--majority-sign: expected total or frequency, got '${value}'`);
}

function linears(text: string): LinearName[] {
  const known = Object.keys(LINEARS) as LinearName[];
  const names = text.split(",").map((name) => name.trim());
  const wrong = names.find((name) => !known.includes(name as LinearName));
  if (wrong === undefined) return known.filter((name) => names.includes(name));
  const near = nearest(wrong, known);
  throw usageError(`--targets: '${wrong}' is none of ${known.join(", ")}${near ? `; did you mean ${near}?` : ""}`);
}

/** `v_proj=16,layers.0..*=4` */
function ranksOf(text: string): Record<string, number> {
  const entries = text.split(",").map((part) => {
    const at = part.lastIndexOf("=");
    const [key, rank] = [part.slice(0, at).trim(), Number(part.slice(at + 1))];
    if (at > 0 && Number.isInteger(rank) && rank > 0) return [key, rank] as const;
    throw usageError(`--rank-pattern: expected module=rank, separated by commas, got '${part}'`);
  });
  return Object.fromEntries(entries);
}

const percent = (share: number): string => `${(100 * share).toFixed(share > 0.999 ? 3 : 1)} %`;

function lossText(losses: readonly RankLoss[], tunedLoss: number): string {
  const each = losses.map(({ rank, loss }) => `${rank === 0 ? "base" : `rank ${rank}`} ${loss.toFixed(4)}`);
  return `loss: ${[...each, `tuned model ${tunedLoss.toFixed(4)}`].join(", ")}`;
}

function energyText({ output, energy, layers, lost, losses = [], tunedLoss }: ExtractReport): string {
  const worst = layers.reduce((least, layer) => (layer.share < least.share ? layer : least));
  const lines = [
    output,
    "rank  share of the difference's energy",
    ...energy.map(
      ({ rank, share }) =>
        `${String(rank).padStart(4)}  ${"#".repeat(Math.round(40 * share)).padEnd(40)} ${percent(share)}`,
    ),
    ...(tunedLoss === undefined ? [] : [lossText(losses, tunedLoss)]),
    `least kept: ${worst.name} (${percent(worst.share)})`,
  ];
  if (lost.length > 0) {
    const most = lost.reduce((a, b) => (b.relative > a.relative ? b : a));
    lines.push(
      `not in the adapter: ${lost.length} other weights that differ, most ${most.name} (by ${percent(most.relative)} of its size)`,
    );
  }
  return `${lines.map(inert).join("\n")}\n`;
}

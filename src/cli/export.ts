import { EXPORT_TARGETS } from "../export/systems.js";
import { type ExportReport, exportAdapter } from "../recipes/export.js";
import { GGUF_WEIGHT_TYPES } from "../tensor/codecs/quants-encode.js";
import type { Action } from "./io.js";
import { choiceOption, engineOptions } from "./model-options.js";
import { inert } from "./preview-text.js";
import { sizeText } from "./progress.js";
import { usageError } from "./usage.js";
import { withReport } from "./with-platform.js";

export const exportVerb: Action = async (_args, options, io) => {
  const request = {
    adapter: options.adapter as string,
    to: choiceOption(options, "to", EXPORT_TARGETS),
    output: (options.output as string).replace(/(?<=.)\/+$/, ""),
    run: options.run !== false,
    ...(options.base === undefined ? {} : { base: options.base as string }),
    ...(options.quantize === undefined ? {} : { quantize: choiceOption(options, "quantize", GGUF_WEIGHT_TYPES) }),
    ...(options.splitMaxSize === undefined ? {} : { splitMaxSize: sizeOption(options.splitMaxSize as string) }),
    ...engineOptions(options),
  };
  return withReport(options, io, async (platform) => {
    const report = await exportAdapter(request, platform);
    return { report, text: text(report) };
  });
};

/** A size as llama.cpp's gguf-split takes it: a whole number of M or G, of 1000 each. Throws a usage error otherwise. */
function sizeOption(text: string): number {
  const [, number, unit] = /^(\d{1,6})([MG])$/.exec(text) ?? [];
  if (number !== undefined && Number(number) > 0) return Number(number) * (unit === "M" ? 1e6 : 1e9);
  throw usageError(`--split-max-size: expected a whole number of M or G, e.g. 500M or 2G, got '${text}'`);
}

function text({ output, files, gates, systems }: ExportReport): string {
  const bytes = files.reduce((n, file) => n + file.bytes, 0);
  const rows = [
    ["loaded by", "", "how, or why not"],
    ...systems.map(({ system, loads, how }) => [system, loads ? "yes" : "no", how]),
  ];
  const width = (column: number) => Math.max(...rows.map((row) => row[column]!.length));
  const [first, second] = [width(0), width(1)];
  return [
    `${output} (${sizeText(bytes)})`,
    ...gates.map(({ gate, found }) => `${gate}: ${found}`),
    "",
    ...rows.map(([a, b, c]) => `${a!.padEnd(first)}  ${b!.padEnd(second)}  ${c}`),
    "",
  ]
    .map(inert)
    .join("\n");
}

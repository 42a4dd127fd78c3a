import { EXPORT_TARGET_NAMES, type ExportTargetName, exportTarget } from "../export/targets/index.js";
import { type ExportReport, exportAdapter } from "../recipes/export.js";
import { GGUF_WEIGHT_TYPES, type GgufWeightType } from "../tensor/codecs/quants-encode.js";
import type { HelpTable } from "./commands/entry.js";
import { inFlags } from "./in-flags.js";
import type { Action, Io, Options } from "./io.js";
import { engineOptions } from "./model-options.js";
import { choiceOption } from "./option-values.js";
import { inert } from "./preview-text.js";
import { sizeText } from "./progress.js";
import { usageError } from "./usage.js";
import { withReport } from "./with-platform.js";

export const exportVerb: Action = (_args, options, io) =>
  exporting(choiceOption(options, "to", EXPORT_TARGET_NAMES), options, io);

/** The export that has a verb of its own. */
export const merge: Action = (_args, options, io) => exporting("hf", options, io);

async function exporting(to: ExportTargetName, options: Options, io: Io): Promise<number> {
  const request = {
    to,
    output: (options.output as string).replace(/(?<=.)\/+$/, ""),
    run: options.run !== false,
    ...(options.adapter === undefined ? {} : { adapter: options.adapter as string }),
    ...(options.base === undefined ? {} : { base: options.base as string }),
    ...(options.quantize === undefined ? {} : { quantize: choiceOption(options, "quantize", GGUF_WEIGHT_TYPES) }),
    ...(options.splitMaxSize === undefined ? {} : { splitMaxSize: sizeOption(options.splitMaxSize as string) }),
    ...engineOptions(options),
  };
  return withReport(options, io, async (platform) => {
    const report = await exportAdapter(request, platform);
    return { report, text: text(report) };
  });
}

/** What every target is, for help and docs. */
export function targetTable(): HelpTable {
  const rows = EXPORT_TARGET_NAMES.map((name) => {
    const { summary, types, usually, fileEnding } = exportTarget(name);
    const said = types.map((type) => (type === usually && types.length > 1 ? `${type} (default)` : type)).join(", ");
    const where = fileEnding ? `folder, or a file *${fileEnding}` : "folder";
    return [name, summary, where, types.includes(usually as GgufWeightType) ? said : `${said}; default: ${usually}`];
  });
  return { title: "Targets", headings: ["--to", "what", "--output", "--quantize"], rows };
}

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
    ...systems.map(({ system, loads, how }) => [system, loads ? "yes" : "no", inFlags(how)]),
  ];
  const width = (column: number) => Math.max(...rows.map((row) => row[column]!.length));
  const [first, second] = [width(0), width(1)];
  return [
    `${output} (${sizeText(bytes)})`,
    ...gates.map(({ gate, found }) => `${gate}: ${inFlags(found)}`),
    "",
    ...rows.map(([a, b, c]) => `${a!.padEnd(first)}  ${b!.padEnd(second)}  ${c}`),
    "",
  ]
    .map(inert)
    .join("\n");
}

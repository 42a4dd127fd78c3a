import { GGUF_WEIGHT_TYPES } from "../checkpoint/quants-encode.js";
import { type ExportReport, exportAdapter } from "../recipes/export.js";
import { EXPORT_TARGETS } from "../recipes/export-systems.js";
import { nearest } from "../tensor/index.js";
import type { Action, Options } from "./io.js";
import { engineOptions, usageError } from "./model-options.js";
import { inert } from "./preview-text.js";
import { sizeText } from "./progress.js";
import { withReport } from "./with-platform.js";

/** An option's value, which must be one of `known`. Throws a usage error otherwise. */
export function choice<T extends string>(options: Options, name: string, known: readonly T[]): T {
  const given = String(options[name]);
  const found = known.find((value) => value === given);
  if (found) return found;
  const near = nearest(given, known);
  throw usageError(
    `--${name}: expected one of ${known.join(", ")}, got '${given}'${near ? `; did you mean ${near}?` : ""}`,
  );
}

export const exportVerb: Action = async (_args, options, io) => {
  const request = {
    adapter: options.adapter as string,
    to: choice(options, "to", EXPORT_TARGETS),
    output: (options.output as string).replace(/(?<=.)\/+$/, ""),
    run: options.run !== false,
    ...(options.base === undefined ? {} : { base: options.base as string }),
    ...(options.quantize === undefined ? {} : { quantize: choice(options, "quantize", GGUF_WEIGHT_TYPES) }),
    ...engineOptions(options),
  };
  return withReport(options, io, async (platform) => {
    const report = await exportAdapter(request, platform);
    return { report, text: text(report) };
  });
};

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

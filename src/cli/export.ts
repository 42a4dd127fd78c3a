import { GGUF_WEIGHT_TYPES } from "../checkpoint/quants-encode.js";
import { nodePlatform } from "../node/platform.js";
import { type ExportReport, exportAdapter } from "../recipes/export.js";
import { EXPORT_TARGETS } from "../recipes/export-systems.js";
import { snakeKeys } from "../recipes/names.js";
import { type Action, EXIT, type Options } from "./io.js";
import { engineOptions, usageError } from "./model-options.js";
import { inert } from "./preview-text.js";
import { sizeText } from "./progress.js";

/** An option's value, which must be one of `known`. Throws a usage error otherwise. */
export function choice<T extends string>(options: Options, name: string, known: readonly T[]): T {
  const found = known.find((value) => value === options[name]);
  if (found) return found;
  throw usageError(`--${name}: expected one of ${known.join(", ")}, got '${options[name]}'`);
}

export const exportVerb: Action = async (_args, options, io) => {
  const to = choice(options, "to", EXPORT_TARGETS);
  const quantize = options.quantize === undefined ? undefined : choice(options, "quantize", GGUF_WEIGHT_TYPES);
  const engine = engineOptions(options);
  const platform = nodePlatform();
  try {
    const report = await exportAdapter(
      {
        adapter: options.adapter as string,
        to,
        output: (options.output as string).replace(/(?<=.)\/+$/, ""),
        run: options.run !== false,
        ...(options.base === undefined ? {} : { base: options.base as string }),
        ...(quantize ? { quantize } : {}),
        ...engine,
      },
      platform,
    );
    for (const warning of report.warnings) io.err(`lowrank: ${inert(warning)}\n`);
    io.out(options.json ? `${JSON.stringify(snakeKeys(report))}\n` : text(report));
    return EXIT.ok;
  } finally {
    await platform.dispose();
  }
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

import { interruptible } from "../node/signals.js";
import { chooseScale } from "../recipes/suite/choose-scale.js";
import type { ScaleScan } from "../recipes/suite/scale.js";
import { shownValue, textTable } from "../recipes/suite/show.js";
import { type Action, EXIT, type Options } from "./io.js";
import { withModel, withWarnings } from "./model-options.js";
import { numberOption } from "./option-values.js";
import { inert } from "./preview-text.js";
import { bar, statusLine } from "./progress.js";
import { usageError } from "./usage.js";

export const scale: Action = async (_args, options, io) => {
  const scales = scalesOf(options.scales as string);
  const maxSeqLen = numberOption(options, "maxSeqLen", { least: 2, whole: true });
  const text = (name: "output" | "report") => (options[name] === undefined ? {} : { [name]: options[name] as string });
  return withModel(options, io, async (model) => {
    const adapter = await withWarnings(model, options.adapter as string, io);
    const status = statusLine(io);
    const { signal, stop } = interruptible(() => undefined);
    try {
      const scan = await chooseScale(model, options.suite as string, adapter, {
        ...text("output"),
        ...text("report"),
        scales,
        maxSeqLen,
        signal,
        onNote: (message) => status.note(inert(message)),
        onProgress: (done, total) => status.update(`${bar(done / total, 20)} ${done}/${total} answers and texts`),
      });
      status.end();
      io.out(options.json ? `${JSON.stringify(scan)}\n` : scanTable(scan, options));
      return EXIT.ok;
    } catch (error) {
      if (signal.aborted) return EXIT.interrupted;
      throw error;
    } finally {
      stop();
    }
  });
};

/** `0.5,0.75,1` */
function scalesOf(list: string): number[] {
  const scales = list.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (scales.every((one) => one > 0 && one <= 2)) return scales;
  throw usageError(`--scales: expected numbers above 0, at most 2, separated by commas, got '${list}'`);
}

function scanTable({ points, best }: ScaleScan, { output }: Options): string {
  const titles = points[0]!.figures.map(({ title }) => title);
  const rows = [
    ["scale", ...points.map((point) => String(point.scale))],
    ...titles.map((title, i) => [title, ...points.map(({ figures }) => shownValue(figures[i]!.after))]),
    ["score", ...points.map(({ score }) => score.toFixed(3))],
  ];
  const end = output === undefined ? "" : `; ${output} is the adapter at it`;
  return [...textTable(rows).trimEnd().split("\n"), `best scale: ${best}${end}`, ""].map(inert).join("\n");
}

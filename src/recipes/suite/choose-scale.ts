import { refuseTaken } from "../../export/subject.js";
import { baseName, refuseNoFolder } from "../../formats/files.js";
import { scaledConfig, writeScaled } from "../../formats/peft/scaled.js";
import { UserError } from "../../tensor/index.js";
import type { LoadedAdapter, LoadedModel } from "../model.js";
import type { SuiteOptions } from "./evaluate-suite.js";
import { type ScaleScan, scanScale } from "./scale.js";
import { scaleChart } from "./scale-chart.js";

export interface ChooseScaleOptions extends Omit<SuiteOptions, "adapter"> {
  /** Times the adapter's own scale. Default 0.5, 0.6, ... 1. */
  readonly scales?: readonly number[];
  /** A folder for a copy of the adapter at the best scale. Default: none is written. */
  readonly output?: string;
  /** A chart of the figures over the scale: a name that ends in `.svg`. Default: none. */
  readonly report?: string;
}

/**
 * Asks a suite at several scales of an adapter, and writes a copy of it at the best. Throws UserError as `scanScale`, and when
 * `output` holds something already.
 */
export async function chooseScale(
  model: LoadedModel,
  suite: string,
  adapter: LoadedAdapter,
  { output, report, ...options }: ChooseScaleOptions = {},
): Promise<ScaleScan> {
  const { files } = model.platform;
  if (output !== undefined) {
    await refuseTaken(files, output);
    await scaledConfig(files, adapter.path, 1); // what cannot be written is refused before it is measured
  }
  if (report !== undefined) {
    if (!report.endsWith(".svg"))
      throw new UserError(`${report}: the report is an SVG image; give it a name that ends in .svg`);
    await refuseNoFolder(files, report);
  }
  const scan = await scanScale(model, suite, adapter, options);
  if (report !== undefined) await files.write(report, scaleChart(scan, baseName(suite)));
  if (output !== undefined) await writeScaled(files, adapter.path, scan.best, output);
  return scan;
}

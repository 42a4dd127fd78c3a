import { refuseNoFolder } from "../formats/files.js";
import type { MpiWorld } from "../node/mpi/world.js";
import type { LoadedModel } from "../recipes/model.js";
import { isFirst } from "../recipes/ranks.js";
import { evaluateSuite, type SuiteOptions } from "../recipes/suite/evaluate-suite.js";
import { suiteReport } from "../recipes/suite/report.js";
import { suiteJson, suiteTable } from "../recipes/suite/show.js";
import { EXIT, type Io, type Options } from "./io.js";
import { withModel, withWarnings } from "./model-options.js";
import { interruptibleAlone } from "./over-ranks.js";
import { inert } from "./preview-text.js";
import { bar, statusLine } from "./progress.js";

/** `eval --suite`: the table or its JSON, and the page that --report asks for. */
export async function evaluateSuiteVerb(
  options: Options,
  io: Io,
  rows: Pick<SuiteOptions, "format" | "columns" | "trainOn" | "maxSeqLen">,
  world?: MpiWorld,
): Promise<number> {
  const use = async (model: LoadedModel) => {
    if (options.report) await refuseNoFolder(model.platform.files, options.report as string);
    const adapter = options.adapter ? await withWarnings(model, options.adapter as string, io) : undefined;
    const status = statusLine(io);
    const { signal, stop } = interruptibleAlone(world);
    try {
      const result = await evaluateSuite(model, options.suite as string, {
        ...rows,
        ...(adapter ? { adapter } : {}),
        signal,
        onNote: (message) => status.note(inert(message)),
        onProgress: (done, total) => status.update(`${bar(done / total, 20)} ${done}/${total} answers and texts`),
      });
      status.end();
      if (options.report && (!world || isFirst(world)))
        await model.platform.files.write(options.report as string, suiteReport(result));
      io.out(
        options.json ? `${JSON.stringify(suiteJson(result))}\n` : suiteTable(result).split("\n").map(inert).join("\n"),
      );
      return EXIT.ok;
    } catch (error) {
      if (signal.aborted) return EXIT.interrupted;
      throw error;
    } finally {
      stop();
    }
  };
  return withModel(options, io, use, world);
}

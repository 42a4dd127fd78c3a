import { openAIChat } from "../node/chat-url.js";
import { interruptible } from "../node/signals.js";
import { type AugmentReport, augment } from "../recipes/augment/augment.js";
import type { AskChat } from "../recipes/augment/model-wordings.js";
import type { LoadedModel } from "../recipes/model.js";
import { type Action, EXIT, type Options } from "./io.js";
import { withModel } from "./model-options.js";
import { numberOption } from "./option-values.js";
import { inert } from "./preview-text.js";
import { usageError } from "./usage.js";
import { withReport } from "./with-platform.js";

export const augmentVerb: Action = async (_args, options, io) => {
  if ((options.known === undefined) !== (options.base === undefined))
    throw usageError("--known and --base belong together: the base answers the known questions");
  const ask = askOption(options);
  const perQuestion = numberOption(options, "wordingsPerQuestion", { least: 1, most: 20, whole: true });
  const texts = ["refusal", "entities", "wordings"].filter((name) => options[name] !== undefined);
  const request = {
    data: options.data as string,
    output: options.output as string,
    abstain: numberOption(options, "abstain", { most: 0.9 }),
    seed: numberOption(options, "seed", { whole: true }),
    rewordings: numberOption(options, "rewordings", { whole: true, most: 20 }),
    ...(options.known === undefined ? {} : { known: options.known as string | true }),
    ...(ask ? { wordingsPerQuestion: perQuestion } : {}),
    ...Object.fromEntries(texts.map((name) => [name, options[name] as string])),
  };
  const run = (model?: LoadedModel, signal?: AbortSignal) =>
    withReport(options, io, async (platform) => {
      const more = { ...(model ? { model } : {}), ...(ask ? { ask } : {}), ...(signal ? { signal } : {}) };
      const report = await augment(request, platform, more);
      return { report, text: reportText(report) };
    });
  const stoppable = async (model?: LoadedModel) => {
    const { signal, stop } = interruptible(() => undefined);
    try {
      return await run(model, signal);
    } catch (error) {
      if (signal.aborted) return EXIT.interrupted;
      throw error;
    } finally {
      stop();
    }
  };
  return options.base === undefined ? stoppable() : withModel(options, io, stoppable);
};

/** The model that --wordings-url and --wordings-model name. */
function askOption({ wordingsUrl: url, wordingsModel: model }: Options): AskChat | undefined {
  if ((url === undefined) !== (model === undefined))
    throw usageError(
      "--wordings-url and --wordings-model belong together: a model behind that address writes the wordings",
    );
  return url === undefined ? undefined : openAIChat({ url: url as string, model: model as string });
}

function reportText({ output, given, rows, entities, made, refusal }: AugmentReport): string {
  const named = `${entities.length} entities: ${entities.slice(0, 8).join(", ")}${entities.length > 8 ? ", ..." : ""}`;
  const kinds = made
    .filter(({ count }) => count > 0)
    .flatMap(({ what, count, examples }) => [`${count} ${what}`, ...examples.map((row) => `    ${questionOf(row)}`)]);
  const lines = [named, `refusal: ${refusal}`, ...kinds, `${output}: ${given} rows and ${rows - given} that were made`];
  return `${lines.map(inert).join("\n")}\n`;
}

function questionOf(row: Readonly<Record<string, unknown>>): string {
  const turns = row.messages as { role: string; content: string }[] | undefined;
  return String(turns?.find(({ role }) => role === "user")?.content ?? row.prompt ?? row.instruction);
}

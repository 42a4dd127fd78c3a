import { join } from "../../formats/files.js";
import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { onBase } from "../base-model.js";
import type { TrainConfig } from "../config-schema.js";
import type { TrainEvent } from "../events.js";
import type { LoadedModel } from "../model.js";
import { OUTPUT } from "../run-folder.js";
import { filesOf } from "../train-files.js";
import { type AugmentReport, augment } from "./augment.js";

interface Context {
  /** The rows that an earlier part of the run made are taken as they are. */
  readonly resume: boolean;
  readonly model: LoadedModel | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Makes the rows that `data.abstain` asks for, in the run's folder, and gives the config that trains on them. Without it the
 * config is as it was. Throws UserError as `augment`, and where the rows are not one file as it is.
 */
export async function* withTwins(
  config: TrainConfig,
  platform: Platform,
  context: Context,
): AsyncGenerator<TrainEvent, TrainConfig> {
  const { abstain, known } = config.data;
  if (abstain === null && known === null) return config;
  if (abstain === null)
    throw new UserError("data.known: its questions are answered beside twins; give data.abstain too");
  const output = join(config.outputDir, OUTPUT.rows);
  const isMade = (await platform.files.stat(output)) !== undefined;
  if (!(context.resume && isMade)) {
    await platform.files.remove(output);
    const report = await made(config, platform, { output, abstain }, context);
    for (const message of notesOf(report)) yield { type: "note", message };
  }
  return { ...config, data: { ...config.data, train: output, abstain: null, known: null } };
}

async function made(
  config: TrainConfig,
  platform: Platform,
  { output, abstain }: { readonly output: string; readonly abstain: number },
  { model: given, signal }: Context,
): Promise<AugmentReport> {
  const { data, seed } = config;
  const [file, ...others] = filesOf(data.train);
  const mapped = Object.keys({ ...data.columns, ...file!.columns }).length > 0;
  if (others.length > 0 || mapped)
    throw new UserError("data.abstain makes twins of the rows of one file without columns; see lowrank augment");
  const request = { data: file!.path, output, abstain, seed };
  const options = signal ? { signal } : {};
  const { known } = data;
  if (known === null) return augment(request, platform, options);
  return onBase(config, platform, given, (model) => augment({ ...request, known }, platform, { ...options, model }));
}

function notesOf({ output, made, entities, warnings }: AugmentReport): string[] {
  const kinds = made.flatMap(({ what, count }) => (count > 0 ? [`${count} ${what}`] : []));
  return [
    ...warnings,
    `data.abstain: ${entities.length} entities; ${kinds.join(", ") || "nothing was made"} (${output})`,
  ];
}

import { join } from "../../formats/files.js";
import { markFolder } from "../../formats/own-folder.js";
import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { onBase } from "../base-model.js";
import type { TrainConfig } from "../config-schema.js";
import { note, type TrainEvent } from "../events.js";
import type { LoadedModel } from "../model.js";
import { OUTPUT } from "../run-folder.js";
import { filesOf, type TrainFile, type TrainFiles } from "../train-files.js";
import { kindsOf, rowLines } from "./augment.js";
import { linesOf } from "./lines.js";
import { type MadeRows, makeRows, namesNobody } from "./make-rows.js";

interface Context {
  /** The rows that an earlier part of the run made are taken as they are. */
  readonly resume: boolean;
  readonly model: LoadedModel | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Makes the rows that `data.abstain` asks for, in the run's folder, and gives the config that trains on them. Without it the
 * config is as it was. Throws UserError as `makeRows`, and where the rows are not one file as it is.
 */
export async function* withTwins(
  config: TrainConfig,
  platform: Platform,
  context: Context,
): AsyncGenerator<TrainEvent, TrainConfig> {
  const { abstain, known, rewordings, twinVariety } = config.data;
  const asked = { known: known !== null && known !== false, rewordings: rewordings > 0, twin_variety: twinVariety > 1 };
  const without = Object.entries(asked).find(([, wanted]) => wanted);
  if (abstain === null && !without) return config;
  if (abstain === null)
    throw new UserError(`data.${without![0]}: what it makes stands beside twins; give data.abstain too`);
  const { files } = platform;
  const [rows, twins, kept] = [OUTPUT.rows, OUTPUT.twins, OUTPUT.keptKnown].map((name) =>
    join(config.outputDir, name),
  ) as [string, string, string];
  const file = onlyFile(config);
  if (!(context.resume && (await files.stat(rows)))) {
    for (const path of [rows, twins]) await files.remove(path);
    const made = await rowsFor(file.path, abstain, config, platform, context);
    await markFolder(files, config.outputDir, "run");
    await files.remove(kept);
    if (made.answers.length > 0) await files.write(kept, rowLines(made.answers));
    const own = [...made.given, ...[...made.reworded, ...made.known].map(({ row }) => row)];
    if (made.twins.length > 0) await files.write(twins, rowLines(made.twins.map(({ row }) => row)));
    await files.write(rows, rowLines(own));
    for (const message of notesOf(made, file.path, config.outputDir)) yield note(message);
  }
  const train = await trainFiles({ ...file, path: rows }, twins, platform, twinVariety);
  const data = { ...config.data, train, abstain: null, known: null, rewordings: 0, twinVariety: 1 };
  return { ...config, data, objective: (await files.stat(kept)) ? alsoKept(config.objective, kept) : config.objective };
}

/** Where texts are kept, the base's answers to known questions are too. */
function alsoKept(objective: TrainConfig["objective"], file: string): TrainConfig["objective"] {
  const { keep } = objective;
  if (keep.data === null && keep.generate === null) return objective;
  return { ...objective, keep: { ...keep, data: [keep.data ?? [], file].flat() } };
}

/** The file of rows that twins are made of. */
function onlyFile({ data }: TrainConfig): TrainFile {
  const [file, ...others] = filesOf(data.train);
  const mapped = Object.keys({ ...data.columns, ...file!.columns }).length > 0;
  if (others.length > 0 || mapped)
    throw new UserError("data.abstain makes twins of the rows of one file without columns; see lowrank augment");
  const { weight: _, ...only } = file!;
  return only;
}

function rowsFor(
  path: string,
  abstain: number,
  config: TrainConfig,
  platform: Platform,
  { model: given, signal }: Context,
): Promise<MadeRows> {
  const { seed } = config;
  const { known, rewordings, twinVariety: variety } = config.data;
  const options = { variety, ...(signal ? { signal } : {}) };
  const request = { data: path, abstain, seed, rewordings };
  if (known === null || known === false) return makeRows(request, platform, options);
  return onBase(config, platform, given, (model) => makeRows({ ...request, known }, platform, { ...options, model }));
}

/** The rows, and beside them the twins where there are any: of several times as many as an epoch is to see, others in each. */
async function trainFiles(rows: TrainFile, twins: string, platform: Platform, variety: number): Promise<TrainFiles> {
  const { path } = rows;
  const plain = Object.keys(rows).length === 1;
  if (!(await platform.files.stat(twins))) return plain ? path : [rows];
  const beside = { ...rows, path: twins };
  if (variety === 1) return plain ? [path, twins] : [rows, beside];
  const local = { ...platform, resolveData: (name: string) => name };
  const counts = [(await linesOf(local, path)).length, (await linesOf(local, twins)).length / variety];
  return [
    { ...rows, weight: counts[0]! },
    { ...beside, weight: counts[1]! },
  ];
}

function notesOf({ entities, twins, reworded, known, warnings }: MadeRows, data: string, folder: string): string[] {
  const kinds = kindsOf([...twins, ...reworded, ...known]).flatMap(({ what, count }) =>
    count > 0 ? [`${count} ${what}`] : [],
  );
  return [
    ...warnings,
    ...(entities.length === 0 ? [namesNobody(data)] : []),
    `data.abstain: ${entities.length} entities; ${kinds.join(", ") || "nothing was made"} (in ${folder})`,
  ];
}

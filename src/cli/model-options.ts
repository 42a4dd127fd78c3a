import type { SamplingOptions } from "../generation/types.js";
import type { MpiWorld } from "../node/mpi/world.js";
import { nodePlatform } from "../node/platform.js";
import { DEVICE_NAMES } from "../platform/platform.js";
import { applyAdapter, type LoadedAdapter, type LoadedModel, loadModel } from "../recipes/model.js";
import type { TemplateArguments } from "../tokenizers/template-arguments.js";
import { BASE_PRECISIONS } from "../weights/base-precision.js";
import { QUANTIZATIONS } from "../weights/load-few-bits.js";
import type { Io, Options } from "./io.js";
import { choiceOption, numberOption } from "./option-values.js";
import { inert } from "./preview-text.js";
import { loadingLine } from "./progress.js";
import { usageError } from "./usage.js";

/** The sampling flags and --max-new-tokens. */
export function samplingOptions(options: Options): SamplingOptions & { maxNewTokens: number } {
  return {
    maxNewTokens: numberOption(options, "maxNewTokens", { least: 1, whole: true }),
    temperature: numberOption(options, "temperature"),
    topP: numberOption(options, "topP", { most: 1 }),
    topK: numberOption(options, "topK", { whole: true }),
    minP: numberOption(options, "minP", { most: 1 }),
    repetitionPenalty: numberOption(options, "repetitionPenalty", { least: 0.01 }),
    seed: numberOption(options, "seed", { whole: true }),
  };
}

/** --device and --threads. */
export function engineOptions(options: Options): { device: (typeof DEVICE_NAMES)[number]; threads: number } {
  const device = choiceOption(options, "device", DEVICE_NAMES);
  return { device, threads: numberOption(options, "threads", { most: 1024, whole: true }) };
}

/** --chat-template-kwargs: an object in JSON. */
function templateArguments({ chatTemplateKwargs: text = "{}" }: Options): TemplateArguments {
  try {
    const value: unknown = JSON.parse(text as string);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as TemplateArguments;
  } catch {
    // Said below.
  }
  throw usageError(
    `--chat-template-kwargs: expected an object in JSON, as '{"enable_thinking": false}', got '${text}'`,
  );
}

/**
 * Loads --base, saying how far it is, runs `use` with it and frees it again, whatever happens. With a `world` its ranks hold the base
 * together.
 */
export async function withModel<T>(
  options: Options,
  io: Io,
  use: (model: LoadedModel) => Promise<T>,
  world?: MpiWorld,
): Promise<T> {
  const engine = {
    ...engineOptions(options),
    basePrecision: choiceOption(options, "basePrecision", BASE_PRECISIONS),
    bnb4bitUseDoubleQuant: options.bnb4bitUseDoubleQuant === true,
    baseCache: (options.baseCache as true | string | undefined) ?? false,
    chatTemplateKwargs: templateArguments(options),
    quantize: options.quantize === undefined ? "none" : choiceOption(options, "quantize", QUANTIZATIONS),
  } as const;
  const among = world && { ranks: world, threads: (await import("./rank.js")).threadsOf(world, engine.threads) };
  const platform = nodePlatform();
  try {
    const model = await loadModel(options.base as string, platform, {
      ...engine,
      ...among,
      onProgress: loadingLine(io),
      onNote: (message) => io.err(`lowrank: ${inert(message)}\n`),
    });
    try {
      return await use(model);
    } finally {
      await model.dispose();
    }
  } finally {
    await platform.dispose();
  }
}

/** Applies an adapter and says what is worth knowing about it. */
export async function withWarnings(model: LoadedModel, path: string, io: Io): Promise<LoadedAdapter> {
  const adapter = await applyAdapter(model, path);
  for (const warning of adapter.warnings) io.err(`lowrank: ${warning}\n`);
  return adapter;
}

/** --adapter, any number of times: `name=FOLDER`, or a folder that is its own name. Throws a usage error for a name given twice. */
export function namedAdapters(options: Options): Map<string, string> {
  const named = new Map<string, string>();
  for (const text of (options.adapter as readonly string[] | undefined) ?? []) {
    const [name, path] = nameAndFolder(text);
    if (named.has(name)) throw usageError(`--adapter: the name '${name}' is given twice`);
    named.set(name, path);
  }
  return named;
}

/** The parts of `name=FOLDER`; a folder alone is its own name. */
export function nameAndFolder(text: string): [name: string, folder: string] {
  const [, name = text, folder = text] = /^([\w.-]+)=(.+)$/.exec(text) ?? [];
  return [name, folder];
}

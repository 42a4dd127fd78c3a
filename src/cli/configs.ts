import { existsSync, readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { PACKAGE } from "../node/package.js";
import { resolveData, resolveModel } from "../node/paths.js";
import { readText } from "../node/read-text.js";
import { type ConfigProblem, type ConfigReading, formatProblem, readConfig } from "../recipes/config.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { filesOf } from "../recipes/train-files.js";
import { nearest, UserError } from "../tensor/errors.js";
import { type Action, EXIT, exactOut, type Options } from "./io.js";
import { usageError } from "./usage.js";

const FOLDER = join(PACKAGE, "recipes");

/** Bytes beyond which a file is not even read: a model that was named by mistake. */
const LARGEST_CONFIG = 4e6;

/** The names of the shipped configs, e.g. `smollm2/135M_lora`. */
export function shippedConfigs(): string[] {
  const found = readdirSync(FOLDER, { recursive: true, encoding: "utf8" });
  return found
    .filter((path) => path.endsWith(".yaml"))
    .map((path) => path.replaceAll("\\", "/").slice(0, -".yaml".length))
    .sort();
}

/** Opens the config that FILE_OR_NAME means: a file if there is one, else a shipped config. */
export async function openConfig(fileOrName: string): Promise<{ path: string; text: string; shipped: boolean }> {
  const shipped = !existsSync(fileOrName);
  const path = shipped ? shippedPath(fileOrName) : fileOrName;
  return { path, text: await readText(path, LARGEST_CONFIG), shipped };
}

function shippedPath(name: string): string {
  const names = shippedConfigs();
  if (names.includes(name)) return join(FOLDER, `${name}.yaml`);
  const near = nearest(name, names);
  throw new UserError(
    `'${name}' is neither a file nor a shipped config${near ? `; did you mean ${near}?` : ""} (lowrank ls lists them)`,
    { code: "not_found" },
  );
}

/** Reads a config with overrides. Throws UserError that lists every problem. */
export async function loadConfig(fileOrName: string | undefined, overrides: readonly string[]): Promise<TrainConfig> {
  const { path, text } = fileOrName ? await openConfig(fileOrName) : { path: "command line", text: "" };
  const reading = readConfig(text, overrides, { home: homedir() });
  if (reading.config) return reading.config;
  throw new UserError(`${path}: the config is not valid\n${reading.problems.map((p) => formatProblem(p)).join("\n")}`, {
    code: "invalid_config",
  });
}

export const validate: Action = async ([fileOrName, ...overrides], options, io) => {
  const { path, text, shipped } = await openConfig(fileOrName!);
  // A shipped config names rows that are still to come.
  const look = shipped ? {} : { look: whatIsMissing };
  const reading: ConfigReading = readConfig(text, overrides, { home: homedir(), ...look });
  const { problems } = reading;
  if (options.json) io.out(`${JSON.stringify({ file: path, valid: problems.length === 0, problems })}\n`);
  else if (problems.length === 0) io.out(`${path}: valid\n`);
  else {
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    io.out([`${path}: ${count}`, ...problems.map((p) => formatProblem(p)), ""].join("\n"));
  }
  return problems.length === 0 ? EXIT.ok : EXIT.failed;
};

/** The models and rows that a config names and that are not there. */
function whatIsMissing({ base, adapter, data, objective, evalSuite, samples, scale }: TrainConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  try {
    resolveModel(base);
  } catch (error) {
    problems.push({ key: "base", message: (error as Error).message.replace(/^base: /, "") });
  }
  const files: (readonly [key: string, path: string | number | null])[] = [
    ["adapter", adapter],
    ...filesOf(data.train).map(({ path }) => ["data.train", resolveData(path)] as const),
    ["data.validation", typeof data.validation === "string" ? resolveData(data.validation) : null],
    ["data.known", typeof data.known === "string" ? resolveData(data.known) : null],
    ...[objective.keep.data ?? []].flat().map((path) => ["objective.keep.data", resolveData(path)] as const),
    ["eval_suite", evalSuite && resolveData(evalSuite)],
    ["samples.file", samples.file && resolveData(samples.file)],
    ["scale.suite", scale.suite && resolveData(scale.suite)],
  ];
  for (const [key, path] of files) {
    if (typeof path === "string" && !existsSync(path))
      problems.push({ key, message: `'${path}' is not there (paths are relative to the working directory)` });
  }
  return problems;
}

export const ls: Action = async (_args, options, io) => {
  const rows = await Promise.all(
    shippedConfigs().map(async (name) => ({ name, summary: summaryOf(await readFile(shippedPath(name), "utf8")) })),
  );
  if (options.json) io.out(`${JSON.stringify(rows)}\n`);
  else io.out(rows.map(({ name, summary }) => `${name.padEnd(22)}${summary}\n`).join(""));
  return EXIT.ok;
};

/** The first comment of a config says what it is for. */
function summaryOf(text: string): string {
  return /^#\s*(.*)/.exec(text)?.[1] ?? "";
}

export const cat: Action = async ([name], _options, io) => {
  exactOut(io)(await readFile(shippedPath(name!), "utf8"));
  return EXIT.ok;
};

export const cp: Action = async ([name, file = `${basename(name!)}.yaml`], options, io) => {
  const text = await readFile(shippedPath(name!), "utf8");
  try {
    await writeFile(file, text, { flag: options.force ? "w" : "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw new UserError(`${file}: ${(error as Error).message}`);
    throw new UserError(`${file}: is there already; name another file or add --force`, { code: "output_taken" });
  }
  io.out(`${file}\n`);
  return EXIT.ok;
};

/** --base, --data and --output as overrides of the config's keys, before those given. Without a config, two keys are needed. */
export function allOverrides(options: Options, given: readonly string[]): string[] {
  const keys = { base: "base", data: "data.train", output: "output_dir" } as const;
  const flags = Object.entries(keys).flatMap(([flag, key]) =>
    options[flag] === undefined ? [] : [`${key}=${valueText(options[flag])}`],
  );
  const all = [...flags, ...given];
  const has = (key: string) => all.some((override) => override.startsWith(`${key}=`));
  if (options.config === undefined && !(has(keys.base) && has(keys.data)))
    throw usageError("say what to train: --config FILE_OR_NAME, or --base MODEL and --data FILE");
  return all;
}

/** A path as an override has it; several are a list. */
function valueText(value: Options[string]): string {
  if (!Array.isArray(value)) return String(value);
  return value.length === 1 ? value[0] : JSON.stringify(value);
}

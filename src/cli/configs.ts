import { existsSync, readdirSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { readText } from "../node/read-text.js";
import { type ConfigReading, formatProblem, readConfig } from "../recipes/config.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { nearest, UserError } from "../tensor/errors.js";
import { type Action, EXIT } from "./io.js";

/** Bytes of a config. */
const LARGEST_CONFIG = 4e6;

const FOLDER = fileURLToPath(new URL("../../recipes/", import.meta.url));

/** The names of the shipped configs, e.g. `smollm2/135M_lora`. */
export function shippedConfigs(): string[] {
  const found = readdirSync(FOLDER, { recursive: true, encoding: "utf8" });
  return found
    .filter((path) => path.endsWith(".yaml"))
    .map((path) => path.replaceAll("\\", "/").slice(0, -".yaml".length))
    .sort();
}

/** Opens the config that FILE_OR_NAME means: a file if there is one, else a shipped config. */
export async function openConfig(fileOrName: string): Promise<{ path: string; text: string }> {
  const path = existsSync(fileOrName) ? fileOrName : shippedPath(fileOrName);
  return { path, text: await readText(path, LARGEST_CONFIG) };
}

function shippedPath(name: string): string {
  const names = shippedConfigs();
  if (names.includes(name)) return `${FOLDER}${name}.yaml`;
  const near = nearest(name, names);
  throw new UserError(
    `'${name}' is neither a file nor a shipped config${near ? `; did you mean ${near}?` : ""} (lowrank ls lists them)`,
  );
}

/** Reads a config with overrides. Throws UserError that lists every problem. */
export async function loadConfig(fileOrName: string | undefined, overrides: readonly string[]): Promise<TrainConfig> {
  const { path, text } = fileOrName ? await openConfig(fileOrName) : { path: "command line", text: "" };
  const reading = readConfig(text, overrides);
  if (reading.config) return reading.config;
  throw new UserError(`${path}: the config is not valid\n${reading.problems.map((p) => formatProblem(p)).join("\n")}`);
}

export const validate: Action = async ([fileOrName, ...overrides], options, io) => {
  const { path, text } = await openConfig(fileOrName!);
  const reading: ConfigReading = readConfig(text, overrides);
  const { problems } = reading;
  if (options.json) io.out(`${JSON.stringify({ file: path, valid: problems.length === 0, problems })}\n`);
  else if (problems.length === 0) io.out(`${path}: valid\n`);
  else {
    const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
    io.out([`${path}: ${count}`, ...problems.map((p) => formatProblem(p)), ""].join("\n"));
  }
  return problems.length === 0 ? EXIT.ok : EXIT.failed;
};

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
  io.out(await readFile(shippedPath(name!), "utf8"));
  return EXIT.ok;
};

export const cp: Action = async ([name, file = `${basename(name!)}.yaml`], options, io) => {
  const text = await readFile(shippedPath(name!), "utf8");
  try {
    await writeFile(file, text, { flag: options.force ? "w" : "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw new UserError(`${file}: ${(error as Error).message}`);
    throw new UserError(`${file}: is there already; name another file or add --force`);
  }
  io.out(`${file}\n`);
  return EXIT.ok;
};

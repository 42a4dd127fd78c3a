import { UserError } from "../../tensor/index.js";
import { formatProblem, resolveOnDisk } from "../config.js";
import { configKeys } from "../config-keys.js";
import { overrideValue, unknownKey } from "../config-overrides.js";
import type { TrainConfig, TrainOptions } from "../config-schema.js";
import type { ConfigProblem } from "../config-yaml.js";
import { inHome } from "../home.js";
import { snakeKeys } from "../names.js";
import { mapPaths } from "../schema-parts.js";

/** Values to try of each key of the config, dotted and as it is on disk: `{"lora.r": [1, 2, 4]}`. */
export type Grid = Readonly<Record<string, readonly unknown[]>>;

/** One combination of a grid's values, and the config that it makes. */
export interface GridPoint {
  readonly values: Readonly<Record<string, unknown>>;
  readonly config: TrainConfig;
}

/** What is the base's, or the sweep's own, and so the same at every point. */
const FIXED: ReadonlySet<string> = new Set([
  "base",
  "output_dir",
  "device",
  "threads",
  "precision",
  "base_precision",
  "bnb_4bit_use_double_quant",
  "base_cache",
  "base_offload",
  "full_finetune",
]);

/**
 * Every combination of a grid's values laid over a config, the first key changing slowest. Throws UserError that lists every key
 * and value that is none.
 */
export function gridPoints(options: TrainOptions, grid: Grid): GridPoint[] {
  const keys = Object.keys(grid);
  const wrong = keys.flatMap((key) => wrongKey(key, grid[key]!));
  if (keys.length === 0) wrong.push({ key: "", message: "a sweep needs a key and its values, as in lora.r=1,2,4" });
  if (wrong.length > 0) throw refusal(wrong);
  const raw = snakeKeys(options) as Record<string, unknown>;
  const points = combinations(keys, grid).map((values) => ({ values, reading: resolveOnDisk(laidOver(raw, values)) }));
  const problems = points.flatMap(({ values, reading }) =>
    reading.problems.map((problem) => ({ ...problem, message: `${problem.message}${blamed(problem, values)}` })),
  );
  if (problems.length > 0) throw refusal(problems);
  return points.map(({ values, reading }) => ({ values, config: reading.config! }));
}

/** The value behind a problem that is not the key's own. */
const blamed = ({ key }: ConfigProblem, values: GridPoint["values"]): string =>
  Object.hasOwn(values, key) ? "" : ` (at ${pointName(values)})`;

/** `lora.r=4 optimizer.lr=0.0005` */
export function pointName(values: GridPoint["values"]): string {
  return Object.entries(values)
    .map(([key, value]) => `${key}=${valueText(value)}`)
    .join(" ");
}

/** A value as a table shows it, and as the command line takes it. */
export const valueText = (value: unknown): string =>
  typeof value === "string" ? value : JSON.stringify(value).replaceAll('"', "");

function wrongKey(key: string, values: readonly unknown[]): ConfigProblem[] {
  const keys = configKeys();
  if (!keys.some((known) => known.key === key)) return [unknownKey(key, keys)];
  if (FIXED.has(key)) return [{ key, message: "is the same at every point: the base is read once for all of them" }];
  if (values.length === 0) return [{ key, message: "has no values to try" }];
  const texts = values.map((value) => JSON.stringify(value));
  const twice = texts.find((text, i) => texts.indexOf(text) !== i);
  return twice === undefined ? [] : [{ key, message: `${twice} is given twice` }];
}

function refusal(problems: readonly ConfigProblem[]): UserError {
  const lines = [...new Set(problems.map((problem) => formatProblem(problem)))];
  return new UserError(`the sweep is not valid:\n${lines.join("\n")}`, { code: "invalid_config" });
}

function combinations(keys: readonly string[], grid: Grid): Record<string, unknown>[] {
  return keys.reduce<Record<string, unknown>[]>(
    (points, key) => points.flatMap((point) => grid[key]!.map((value) => ({ ...point, [key]: value }))),
    [{}],
  );
}

/** A copy of a config as it is on disk with these values. */
function laidOver(raw: Readonly<Record<string, unknown>>, values: GridPoint["values"]): Record<string, unknown> {
  const copy = structuredClone(raw) as Record<string, unknown>;
  for (const [key, value] of Object.entries(values)) {
    const sections = key.split(".");
    const name = sections.pop()!;
    const holder = sections.reduce<Record<string, unknown>>((at, section) => {
      at[section] ??= {};
      return at[section] as Record<string, unknown>;
    }, copy);
    holder[name] = value;
  }
  return copy;
}

/**
 * A grid out of texts such as `lora.r=1,2,4` and `lora.target_modules=[q_proj,v_proj],all-linear`: values with commas between them,
 * each as the key's type wants it. `home`: the folder that `~` means at the beginning of a path. Throws UserError for what is no key.
 */
export function readGrid(texts: readonly string[], home: string): Grid {
  const grid: Record<string, unknown[]> = {};
  const problems: ConfigProblem[] = [];
  for (const text of texts) {
    const at = text.indexOf("=");
    const [key, list] = [text.slice(0, Math.max(0, at)).trim(), text.slice(at + 1)];
    const known = configKeys().find((one) => one.key === key);
    if (at < 1) problems.push({ key: text, message: "expected key=value,value,..., e.g. lora.r=1,2,4" });
    else if (Object.hasOwn(grid, key)) problems.push({ key, message: "is given twice" });
    else if (!known) problems.push(unknownKey(key, configKeys()));
    else {
      const values = splitList(list).map((value) => overrideValue(known, value));
      grid[key] = known.isPath ? values.map((value) => mapPaths(value, inHome(home))) : values;
    }
  }
  if (problems.length > 0) throw refusal(problems);
  return grid;
}

/** The parts of a list, cut at the commas that stand in no bracket. */
function splitList(list: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const character of list) {
    if ("[{(".includes(character)) depth++;
    if ("]})".includes(character)) depth--;
    if (character === "," && depth <= 0) parts.push("");
    else parts[parts.length - 1] += character;
  }
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

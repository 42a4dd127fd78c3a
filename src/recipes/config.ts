import { stringify } from "yaml";
import type { z } from "zod";
import { nearest, UserError } from "../tensor/index.js";
import { configKeys } from "./config-keys.js";
import { nearestKey } from "./config-names.js";
import { applyOverrides } from "./config-overrides.js";
import { type TrainConfig, type TrainConfigOnDisk, type TrainOptions, trainSchema } from "./config-schema.js";
import { type ConfigProblem, readYaml } from "./config-yaml.js";
import { inHome } from "./home.js";
import { camelCase, camelKeys, snakeKeys } from "./names.js";
import { mapPaths } from "./schema-parts.js";
import { fileKeys } from "./train-files.js";

export type { ConfigProblem } from "./config-yaml.js";

export interface ConfigReading {
  /** Undefined when there are problems. */
  readonly config?: TrainConfig;
  readonly problems: readonly ConfigProblem[];
}

/** What a config is read with beside its text. */
export interface ConfigContext {
  /** The home folder, which `~` at the beginning of a path means. Default: `~` is a name like any other. */
  readonly home?: string;
  /** Looks at what a config without problems names, and says what is wrong with it. Default: nothing is looked at. */
  readonly look?: (config: TrainConfig) => readonly ConfigProblem[];
}

/**
 * Reads a training config from YAML 1.2 text, `overrides` (`lora.r=16`) laid over it. Reports every problem at once;
 * never throws for what the text holds.
 */
export function readConfig(
  text: string,
  overrides: readonly string[] = [],
  { home, look }: ConfigContext = {},
): ConfigReading {
  const { raw, problems: unread, locate } = readYaml(text);
  if (!raw) return { problems: unread };
  const overridden = new Set<string>();
  const problems = [...unread, ...applyOverrides(raw, overrides, overridden)];
  const { data, problems: found } = check(raw);
  const where = (path: readonly PropertyKey[]) => (overridden.has(path.join(".")) ? {} : locate(path));
  for (const problem of found) problems.push({ ...where(problem.path), ...withoutPath(problem) });
  const expanded = data && home !== undefined ? withPaths(data, inHome(home)) : data;
  const config = problems.length === 0 && expanded ? (camelKeys(expanded) as TrainConfig) : undefined;
  for (const problem of config && look ? look(config) : [])
    problems.push({ ...where(problem.key.split(".")), ...problem });
  problems.sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity));
  return config && problems.length === 0 ? { config, problems } : { problems };
}

/** A copy of a config with every path in it replaced. */
function withPaths(data: TrainConfigOnDisk, replace: (path: string) => string): TrainConfigOnDisk {
  const copy = structuredClone(data);
  for (const { key } of configKeys().filter(({ isPath }) => isPath)) {
    const sections = key.split(".");
    const name = sections.pop()!;
    const holder = sections.reduce<Record<string, unknown>>((at, section) => at[section] as never, copy);
    holder[name] = mapPaths(holder[name], replace);
  }
  return copy;
}

/** Fills in the defaults of a config written in TypeScript. Throws UserError that lists every problem. */
export function resolveConfig(options: TrainOptions): TrainConfig {
  const { data, problems } = check(snakeKeys(options));
  if (data && problems.length === 0) return camelKeys(data) as TrainConfig;
  const camel = (key: string) => key.split(".").map(camelCase).join(".");
  const lines = problems.map((p) => formatProblem({ ...withoutPath(p), key: camel(p.key) }, camel));
  throw new UserError(`the training config is not valid:\n${lines.join("\n")}`, { code: "invalid_config" });
}

/** A config as it is on disk with its defaults filled in, or what is wrong with it. */
export function resolveOnDisk(raw: unknown): ConfigReading {
  const { data, problems } = check(raw);
  const found = problems.map(withoutPath);
  return data && found.length === 0 ? { config: camelKeys(data) as TrainConfig, problems: found } : { problems: found };
}

/** The config as YAML, every key written out. */
export function writeConfig(config: TrainConfig): string {
  return stringify(snakeKeys(config));
}

/** `4: lora.rank: unknown key; did you mean lora.r?` */
export function formatProblem(problem: ConfigProblem, rename = (key: string) => key): string {
  const where = problem.line === undefined ? "" : `${problem.line}:${problem.column}: `;
  const key = problem.key ? `${problem.key}: ` : "";
  const hint = problem.nearest ? `; did you mean ${rename(problem.nearest)}?` : "";
  return `  ${where}${key}${problem.message}${hint}`;
}

type Located = ConfigProblem & { readonly path: readonly PropertyKey[] };

function withoutPath({ path: _, ...problem }: Located): ConfigProblem {
  return problem;
}

function check(raw: unknown): { data?: TrainConfigOnDisk; problems: Located[] } {
  const result = trainSchema.safeParse(raw, { reportInput: true });
  if (result.success) return { data: result.data, problems: [] };
  return { problems: result.error.issues.flatMap(nearestIssues).flatMap(describeIssue) };
}

/** Of a value that may be several things, what is wrong with it as the one that it is nearly: where only one is wrong inside. */
function nearestIssues(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== "invalid_union") return [issue];
  const inside = issue.errors.filter((branch) =>
    branch.some(({ path, code }) => path.length > 0 || code !== "invalid_type"),
  );
  if (inside.length !== 1) return [issue];
  return inside[0]!.map((one) => ({ ...one, path: [...issue.path, ...one.path] })).flatMap(nearestIssues);
}

function describeIssue(issue: z.core.$ZodIssue): Located[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((name) => {
      const key = [...issue.path, name].join(".");
      const inList = issue.path.some((part) => typeof part === "number");
      const near = inList ? nearest(name, fileKeys) : nearestKey(issue.path, name);
      return { path: [...issue.path, name], key, message: "unknown key", nearest: near };
    });
  }
  // Inside a list or tuple the entry's index names no key of the table: the list's own key does.
  const depth = issue.path.findIndex((part) => typeof part === "number");
  const path = depth < 0 ? issue.path : issue.path.slice(0, depth);
  const key = path.join(".");
  const known = configKeys().find((k) => k.key === key || key.startsWith(`${k.key}.`));
  if (issue.input === undefined && (issue.code === "invalid_type" || issue.code === "invalid_union")) {
    return [{ path, key, message: known ? `is required: ${known.description}` : "is required" }];
  }
  const expected = known ? `expected ${known.type}` : "expected a section of `key: value` lines";
  const bound = issue.code === "too_small" || issue.code === "too_big" ? ` (${boundText(issue)})` : "";
  if (issue.code === "custom") return [{ path, key, message: issue.message }];
  const quotes = known?.takesText && /^(number|boolean)$/.test(typeof issue.input) ? "; write it in quotes" : "";
  return [{ path, key, message: `${expected}${bound}, got ${shown(issue.input)}${quotes}` }];
}

/** A value for a message: JSON, cut where it is long. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}

function boundText(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  const unit = issue.origin === "string" ? " characters" : issue.origin === "array" ? " entries" : "";
  if (issue.code === "too_small") return `${issue.inclusive ? "at least" : "more than"} ${issue.minimum}${unit}`;
  return `${issue.inclusive ? "at most" : "less than"} ${issue.maximum}${unit}`;
}

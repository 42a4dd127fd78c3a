import { isMap, isScalar, LineCounter, type Node, parse, parseDocument, stringify } from "yaml";
import type { z } from "zod";
import { nearest, UserError } from "../tensor/index.js";
import {
  configKeys,
  sectionOf,
  type TrainConfig,
  type TrainConfigOnDisk,
  type TrainOptions,
  trainSchema,
} from "./config-schema.js";
import { camelCase, camelKeys, snakeKeys } from "./names.js";

/** One thing that is wrong with a config. */
export interface ConfigProblem {
  /** Counted from 1; undefined when the value did not come from the file. */
  readonly line?: number;
  readonly column?: number;
  /** Dotted key, empty for the whole file. */
  readonly key: string;
  readonly message: string;
  /** The known key that the unknown one is closest to. */
  readonly nearest?: string;
}

export interface ConfigReading {
  /** Undefined when there are problems. */
  readonly config?: TrainConfig;
  readonly problems: readonly ConfigProblem[];
}

const LARGEST_FILE = 1_000_000;

/**
 * Reads a training config from YAML 1.2 text, `overrides` (`lora.r=16`) laid over it. Reports every problem at once;
 * never throws for what the text holds.
 */
export function readConfig(text: string, overrides: readonly string[] = []): ConfigReading {
  if (text.length > LARGEST_FILE) return { problems: [{ key: "", message: "a config is at most 1 MB of YAML" }] };
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, version: "1.2", strict: true });
  const problems: ConfigProblem[] = [...document.errors, ...document.warnings].map((error) => {
    const { line, col } = lines.linePos(error.pos[0]);
    const key = pathAt(document.contents, error.pos[0])?.join(".") ?? "";
    return { line, column: col, key, message: yamlMessage(error.code, error.message) };
  });
  if (document.errors.some((error) => error.code !== "DUPLICATE_KEY")) return { problems };
  let raw: unknown;
  try {
    raw = document.toJS({ maxAliasCount: 50 }) ?? {};
  } catch {
    return {
      problems: [...problems, { key: "", message: "aliases repeat too much (an alias bomb?); write them out" }],
    };
  }
  if (raw === null || typeof raw !== "object" || Array.isArray(raw)) {
    return { problems: [...problems, { line: 1, column: 1, key: "", message: "expected `key: value` lines" }] };
  }
  const overridden = new Set<string>();
  problems.push(...applyOverrides(raw as Record<string, unknown>, overrides, overridden));
  const locate = (path: readonly PropertyKey[]): Pick<ConfigProblem, "line" | "column"> => {
    if (overridden.has(path.join("."))) return {};
    const offset = keyOffset(document.contents as Node | null, path);
    if (offset === undefined) return text.trim() ? { line: 1, column: 1 } : {};
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const { data, problems: found } = check(raw);
  problems.push(...found.map((problem) => ({ ...locate(problem.path), ...withoutPath(problem) })));
  problems.sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity));
  return problems.length === 0 && data ? { config: camelKeys(data) as TrainConfig, problems } : { problems };
}

/** Fills in the defaults of a config written in TypeScript. Throws UserError that lists every problem. */
export function resolveConfig(options: TrainOptions): TrainConfig {
  const { data, problems } = check(snakeKeys(options));
  if (data && problems.length === 0) return camelKeys(data) as TrainConfig;
  const camel = (key: string) => key.split(".").map(camelCase).join(".");
  const lines = problems.map((p) => formatProblem({ ...withoutPath(p), key: camel(p.key) }, camel));
  throw new UserError(`the training config is not valid:\n${lines.join("\n")}`);
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
  return { problems: result.error.issues.flatMap(describeIssue) };
}

function describeIssue(issue: z.core.$ZodIssue): Located[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((name) => {
      const key = [...issue.path, name].join(".");
      return { path: [...issue.path, name], key, message: "unknown key", nearest: nearestKey(issue.path, name) };
    });
  }
  // Inside a list or tuple the entry's index names no key of the table: the list's own key does.
  const depth = issue.path.findIndex((part) => typeof part === "number");
  const path = depth < 0 ? issue.path : issue.path.slice(0, depth);
  const key = path.join(".");
  const known = configKeys().find((k) => k.key === key || key.startsWith(`${k.key}.`));
  if (issue.input === undefined && issue.code === "invalid_type") {
    return [{ path, key, message: known ? `is required: ${known.description}` : "is required" }];
  }
  const expected = known ? `expected ${known.type}` : "expected a section of `key: value` lines";
  const bound = issue.code === "too_small" || issue.code === "too_big" ? ` (${boundText(issue)})` : "";
  return [{ path, key, message: `${expected}${bound}, got ${JSON.stringify(issue.input)}` }];
}

function boundText(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  const unit = issue.origin === "string" ? " characters" : issue.origin === "array" ? " entries" : "";
  if (issue.code === "too_small") return `${issue.inclusive ? "at least" : "more than"} ${issue.minimum}${unit}`;
  return `${issue.inclusive ? "at most" : "less than"} ${issue.maximum}${unit}`;
}

/** What other systems call our keys. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  rank: "lora.r",
  lora_r: "lora.r",
  lora_rank: "lora.r",
  lora_alpha: "lora.alpha",
  lora_dropout: "lora.dropout",
  learning_rate: "optimizer.lr",
  num_train_epochs: "epochs",
  num_warmup_steps: "schedule.warmup_steps",
  lr_scheduler: "schedule.name",
  per_device_train_batch_size: "batch_size",
  gradient_checkpointing: "checkpointing",
  enable_activation_checkpointing: "checkpointing",
  max_steps_per_epoch: "max_steps",
  model: "base",
  model_name_or_path: "base",
  dataset: "data.train",
  load_in_4bit: "base_precision",
  load_in_8bit: "base_precision",
  bnb_4bit_quant_type: "base_precision",
};

/** The key that was probably meant: the same name in another section, else the nearest one here, else anywhere. */
function nearestKey(path: readonly PropertyKey[], name: string): string | undefined {
  if (Object.hasOwn(OTHER_NAMES, name)) return OTHER_NAMES[name];
  const all = configKeys().map((k) => k.key);
  const prefix = path.length ? `${path.join(".")}.` : "";
  const elsewhere = all.find((key) => key.slice(key.lastIndexOf(".") + 1) === name || key === name);
  if (elsewhere) return elsewhere;
  const sections = path.length ? [] : Object.entries(trainSchema.shape).flatMap(([k, s]) => (sectionOf(s) ? [k] : []));
  const here = all.filter((key) => key.startsWith(prefix) && !key.slice(prefix.length).includes("."));
  const near = nearest(name, [...here.map((key) => key.slice(prefix.length)), ...sections]);
  if (near) return prefix + near;
  const leaf = nearest(
    name,
    all.map((key) => key.slice(key.lastIndexOf(".") + 1)),
  );
  return all.find((key) => key.slice(key.lastIndexOf(".") + 1) === leaf);
}

/** Where the innermost key of `path` that exists begins in the text. */
function keyOffset(node: Node | null, path: readonly PropertyKey[]): number | undefined {
  let offset: number | undefined;
  for (const part of path) {
    if (!isMap(node)) break;
    const pairs = node.items.filter((item) => isScalar(item.key) && String(item.key.value) === String(part));
    const pair = pairs.at(-1);
    if (!pair || !isScalar(pair.key)) break;
    offset = pair.key.range?.[0];
    node = pair.value as Node | null;
  }
  return offset;
}

/** The path of the key that begins at `offset` of the text. */
function pathAt(node: Node | null, offset: number): string[] | undefined {
  if (!isMap(node)) return undefined;
  for (const { key, value } of node.items) {
    if (!isScalar(key)) continue;
    const inner = key.range?.[0] === offset ? [] : pathAt(value as Node | null, offset);
    if (inner) return [String(key.value), ...inner];
  }
  return undefined;
}

function applyOverrides(raw: Record<string, unknown>, overrides: readonly string[], set: Set<string>): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const keys = configKeys();
  for (const override of overrides) {
    const at = override.indexOf("=");
    if (at < 1) {
      problems.push({ key: override, message: "expected key=value, e.g. lora.r=16" });
      continue;
    }
    const [key, text] = [override.slice(0, at).trim(), override.slice(at + 1)];
    const known = keys.find((k) => k.key === key);
    if (!known) {
      const parts = key.split(".");
      problems.push({ key, message: "unknown key", nearest: nearestKey(parts.slice(0, -1), parts.at(-1)!) });
      continue;
    }
    const [section, name] = key.includes(".") ? key.split(".") : [undefined, key];
    const target = section ? ((raw[section] ??= {}) as Record<string, unknown>) : raw;
    if (typeof target === "object") target[name!] = overrideValue(known.schema, text);
    set.add(key);
  }
  return problems;
}

/** An override's value as the key's type wants it: YAML, else the bare text, else a comma-separated list. */
function overrideValue(schema: z.ZodType, text: string): unknown {
  const candidates: unknown[] = [text, text.split(",").map((part) => part.trim())];
  try {
    candidates.unshift(parse(text, { maxAliasCount: 0 }));
  } catch {
    // Not YAML: a path with a colon, say.
  }
  if (text.includes(",")) candidates.unshift(parseList(text));
  return candidates.find((value) => schema.safeParse(value).success) ?? candidates[0];
}

function parseList(text: string): unknown {
  try {
    return parse(text.trim().startsWith("[") ? text : `[${text}]`, { maxAliasCount: 0 });
  } catch {
    return text;
  }
}

function yamlMessage(code: string, message: string): string {
  if (code === "DUPLICATE_KEY") return "this key is written twice; keep one";
  if (code === "TAB_AS_INDENT") return "tabs cannot indent YAML; use spaces";
  return message.split("\n")[0]!;
}

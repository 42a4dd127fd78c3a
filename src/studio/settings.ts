import { stringify } from "yaml";
import { z } from "zod";
import { type ConfigProblem, formatProblem, readConfig } from "../recipes/config.js";
import { configKeys } from "../recipes/config-keys.js";
import { applyOverrides } from "../recipes/config-overrides.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { snakeKeys } from "../recipes/names.js";
import { UserError } from "../tensor/index.js";

/** Keys of a config by their dotted names, each with the text that `lowrank train KEY=TEXT` takes. What is left out has its default. */
export type Settings = Readonly<Record<string, string>>;

export const settingsSchema = z.record(z.string().max(200), z.string().max(100_000), "expected texts by config keys");

const overridesOf = (settings: Settings): string[] => Object.entries(settings).map(([key, text]) => `${key}=${text}`);

export interface ReadSettings {
  /** Undefined when there are problems. */
  readonly config?: TrainConfig;
  readonly problems: readonly ConfigProblem[];
  /** The same as a file, and as a command line. */
  readonly yaml: string;
  readonly command: string;
}

/** Reads settings; never throws for what they say. */
export function readSettings(settings: Settings, home: string | undefined): ReadSettings {
  const overrides = overridesOf(settings);
  const raw: Record<string, unknown> = {};
  applyOverrides(raw, overrides, new Set());
  const command = ["lowrank train", ...overrides.map(shellWord)].join(" ");
  return { ...readConfig("", overrides, { home }), yaml: stringify(raw), command };
}

/** The config that settings mean. Throws UserError that lists every problem. */
export function configOf(settings: Settings, home: string | undefined): TrainConfig {
  const { config, problems } = readSettings(settings, home);
  if (config) return config;
  const lines = problems.map((problem) => formatProblem(problem).trim());
  throw new UserError(lines.join("\n"), { code: "invalid_config" });
}

/** What a config says beside the defaults. */
export function settingsOf(config: TrainConfig): Settings {
  const onDisk = snakeKeys(config);
  const entries = configKeys().flatMap(({ key, fallback }) => {
    const value = key
      .split(".")
      .reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[part], onDisk);
    const isUsual = value === undefined || JSON.stringify(value) === JSON.stringify(fallback);
    return isUsual ? [] : [[key, typeof value === "string" ? value : JSON.stringify(value)] as const];
  });
  return Object.fromEntries(entries);
}

/** A word as a shell takes it. */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

import type { z } from "zod";
import { type ConfigKey, configKeys } from "./config-keys.js";
import { nearestKey } from "./config-names.js";
import { type ConfigProblem, parseShort } from "./config-yaml.js";

/** Lays `key=value` texts over a config as it is on disk; the keys they name are added to `set`. */
export function applyOverrides(
  raw: Record<string, unknown>,
  overrides: readonly string[],
  set: Set<string>,
): ConfigProblem[] {
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
      problems.push(unknownKey(key, keys));
      continue;
    }
    const sections = key.split(".");
    const name = sections.pop()!;
    const target = sections.reduce<unknown>((at, section) => opened(at, section), raw);
    if (isMap(target)) target[name] = overrideValue(known, text);
    set.add(key);
  }
  return problems;
}

const isMap = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

/** A section of a map, which is made where there is none; what is no map stays as it is, to be refused. */
const opened = (at: unknown, section: string): unknown => (isMap(at) ? (at[section] ??= {}) : at);

/** What is wrong with a key that is none: it is a section, or lies in the map of one that is, or is misspelled. */
export function unknownKey(key: string, keys: ReturnType<typeof configKeys>): ConfigProblem {
  const inside = keys.find((known) => known.key.startsWith(`${key}.`));
  if (inside) return { key, message: `holds several keys; set one of them, as in ${inside.key}=...` };
  const map = keys.find((known) => key.startsWith(`${known.key}.`));
  if (map) return { key, message: `write the whole map: ${map.key}={${key.slice(map.key.length + 1)}: ...}` };
  const parts = key.split(".");
  return { key, message: "unknown key", nearest: nearestKey(parts.slice(0, -1), parts.at(-1)!) };
}

/**
 * An override's value as the key's type wants it. Text is taken as it was typed, whatever YAML would make of it; but `null`,
 * `true`, `false`, numbers and lists are what they say where the key may hold such, and all else is read as YAML.
 */
export function overrideValue({ schema, isPath }: ConfigKey, text: string): unknown {
  const takesText = accepts(schema, "text") || accepts(schema, text);
  const candidates = takesText
    ? [...(PLAIN.test(text) ? [parseShort(text)] : []), listOf(text, !isPath), text]
    : [parseShort(text), parseShort(`[${text}]`)];
  const fitting = candidates.filter((value) => value !== undefined && accepts(schema, value));
  return fitting.length > 0 ? fitting[0] : takesText ? text : (candidates[0] ?? text);
}

const accepts = (schema: z.ZodType, value: unknown): boolean => schema.safeParse(value).success;

/** What is no text where a key may hold something else too. */
const PLAIN = /^(?:null|true|false|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)$/;

/** `[a, b]`, or with `byCommas` names with commas between them; anything else (a regular expression, a path) is no list. */
function listOf(text: string, byCommas: boolean): unknown {
  if (/^\s*\[.*\]\s*$/s.test(text)) return parseShort(text);
  return byCommas && /^[\w.-]+(?:\s*,\s*[\w.-]+)+$/.test(text) ? text.split(",").map((part) => part.trim()) : undefined;
}

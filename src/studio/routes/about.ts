import { z } from "zod";
import { configKeys } from "../../recipes/config-keys.js";
import { call } from "../route.js";

/** A config key as a form shows it. */
export interface FormKey {
  /** Dotted: `lora.r`. */
  readonly key: string;
  /** In words: "whole number". */
  readonly type: string;
  /** The default as text; null: the key must be given. */
  readonly fallback: string | null;
  readonly description: string;
  /** The words that it may be; empty: anything of its type. */
  readonly choices: readonly string[];
}

export const about = call({
  summary:
    "versions, the folder, the memory there is, what is offered, what is not and why, and every key of the config",
  request: z.strictObject({}),
  async answer({ platform, host }) {
    return {
      versions: platform.versions,
      folder: host.folder,
      limit_bytes: platform.memory().limit,
      can: { download: host.download !== undefined, serve: host.serve !== undefined },
      lacks: host.lacks ?? {},
      notes: host.notes ?? [],
      keys: formKeys(),
    };
  },
});

function formKeys(): FormKey[] {
  return configKeys().map(({ key, type, fallback, required, description }) => ({
    key,
    type,
    fallback: required ? null : typeof fallback === "string" ? fallback : JSON.stringify(fallback),
    description,
    choices: choicesOf(type),
  }));
}

/** A type of words, such as `auto`, `cpu`; one of true and false. */
function choicesOf(type: string): string[] {
  if (type === "true or false") return ["true", "false"];
  return /^`[^`]+`(, `[^`]+`)*$/.test(type) ? [...type.matchAll(/`([^`]+)`/g)].map((m) => m[1]!) : [];
}

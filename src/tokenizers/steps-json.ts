import { UserError } from "../tensor/index.js";

/** A part of tokenizer.json that has a `type`. */
export type Step = Readonly<Record<string, unknown>> & { readonly type: string };

const DEEPEST = 16;

/**
 * A normalizer, pre-tokenizer, post-processor or decoder of tokenizer.json as the list of its steps: those of a `Sequence`
 * are under `list`. Empty for null. Throws UserError for what is no such thing or nests deeper than 16.
 */
export function stepsOf(json: unknown, where: string, list: string, depth = 0): Step[] {
  if (json === null || json === undefined) return [];
  const type = (json as { type?: unknown }).type;
  if (typeof json !== "object" || typeof type !== "string") {
    throw new UserError(`${where}: expected an object with a type`);
  }
  if (type !== "Sequence") return [json as Step];
  const parts = (json as Record<string, unknown>)[list];
  if (!Array.isArray(parts)) throw new UserError(`${where}: a Sequence needs a list "${list}"`);
  if (depth === DEEPEST) throw new UserError(`${where}: Sequences nest at most ${DEEPEST} deep`);
  return parts.flatMap((part) => stepsOf(part, where, list, depth + 1));
}

/** A boolean setting of a step. */
export function flag(step: Step, key: string, otherwise: boolean, where: string): boolean {
  const value = step[key] ?? otherwise;
  if (typeof value === "boolean") return value;
  throw new UserError(`${where}: ${step.type}.${key} must be true or false`);
}

/** A text setting of a step. */
export function textOf(step: Step, key: string, where: string): string {
  const value = step[key];
  if (typeof value === "string") return value;
  throw new UserError(`${where}: ${step.type}.${key} must be a text`);
}

/** The `pattern` of a step: a text that is looked for as it is, or a regular expression. */
export function patternOf(step: Step, where: string): { readonly literal: string } | { readonly regex: string } {
  const pattern = step.pattern as { String?: unknown; Regex?: unknown } | null | undefined;
  if (typeof pattern?.String === "string") return { literal: pattern.String };
  if (typeof pattern?.Regex === "string") return { regex: pattern.Regex };
  throw new UserError(`${where}: ${step.type}.pattern must be {"String": ...} or {"Regex": ...}`);
}

/** Refuses a step that is not supported, naming it and those that are. */
export function unknownStep(step: Step, where: string, known: readonly string[]): UserError {
  return new UserError(`${where}: ${JSON.stringify(step.type)} is not supported (supported: ${known.join(", ")})`);
}

const SCHEMES = ["always", "first", "never"] as const;

/** The settings of a Metaspace, which is a pre-tokenizer and a decoder. Throws UserError for what contradicts itself. */
export function metaspace(
  step: Step,
  where: string,
): { mark: string; scheme: (typeof SCHEMES)[number]; split: boolean } {
  const mark = step.replacement;
  if (typeof mark !== "string" || Array.from(mark).length !== 1) {
    throw new UserError(`${where}: Metaspace.replacement must be one character`);
  }
  const given = step.prepend_scheme ?? "always";
  const found = SCHEMES.find((scheme) => scheme === given);
  const prefixed = flag(step, "add_prefix_space", true, where);
  if (!found || (!prefixed && found !== "never" && step.prepend_scheme !== undefined)) {
    throw new UserError(
      `${where}: Metaspace.prepend_scheme is ${JSON.stringify(given)}; expected ${SCHEMES.join(", ")}, and never where add_prefix_space is false`,
    );
  }
  return { mark, scheme: prefixed ? found : "never", split: flag(step, "split", true, where) };
}

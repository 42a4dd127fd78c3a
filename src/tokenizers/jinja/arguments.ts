import type { Kwargs } from "./values.js";
import { TemplateError } from "./work.js";

/** Marks a parameter that has to be given. */
export const required = Symbol("required");

/** Names of parameters in their order, each with its default. */
export type Parameters = Readonly<Record<string, unknown>>;

/** The first `count` parameters of Python's built-ins cannot be given by name. */
export interface Signature {
  readonly parameters: Parameters;
  readonly positionalOnly?: boolean;
}

/** Puts arguments to parameters as Python does. Throws TemplateError for too many, unknown or missing ones. */
export function bind(
  name: string,
  { parameters, positionalOnly }: Signature,
  args: readonly unknown[],
  kwargs: Kwargs,
) {
  const names = Object.keys(parameters);
  if (args.length > names.length) {
    throw new TemplateError(`${name}() takes at most ${names.length} arguments (${args.length} given)`);
  }
  const bound = names.map((parameter, i) => (i < args.length ? args[i] : parameters[parameter]));
  for (const [key, value] of kwargs) {
    const i = names.indexOf(key);
    if (i < 0 || positionalOnly) throw new TemplateError(`${name}() got an unexpected keyword argument '${key}'`);
    if (i < args.length) throw new TemplateError(`${name}() got multiple values for argument '${key}'`);
    bound[i] = value;
  }
  const missing = bound.indexOf(required);
  if (missing >= 0) throw new TemplateError(`${name}() missing a required argument: '${names[missing]}'`);
  return bound;
}

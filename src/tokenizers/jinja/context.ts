import type { Evaluate, Place } from "./expressions.js";
import { entering, type Frame, reader } from "./frame.js";
import { Namespace } from "./globals.js";
import type { Statement, Target } from "./nodes.js";
import { Symbols } from "./symbols.js";
import { listOf } from "./values.js";
import { TemplateError } from "./work.js";

/** How a statement ended: go on, or leave or repeat the loop around it. */
export type Outcome = 0 | 1 | 2;
export const GO_ON: Outcome = 0;
export const BREAK: Outcome = 1;
export const CONTINUE: Outcome = 2;

/** A statement that can be run. */
export type Run = (frame: Frame) => Outcome;

/** Where a statement stands. */
export interface Context extends Place {
  /** Is it inside a loop of the same function? */
  readonly loop: boolean;
  /** Compiles the statements inside it. */
  readonly compile: (statements: readonly Statement[], context: Context) => Run;
}

/** Evaluates at a line, which errors then name. */
export function at(line: number, evaluate: Evaluate): Evaluate {
  return (frame) => {
    frame.render.line = line;
    return evaluate(frame);
  };
}

/** Gives a value to what stands left of `=`. */
export function compileTarget(target: Target, symbols: Symbols): (frame: Frame, value: unknown) => void {
  if (target.kind === "tuple") return compileUnpacking(target, symbols);
  if (target.kind === "name") {
    const { index } = symbols.ref(target.name);
    return (frame, value) => {
      frame.vars[index] = value;
    };
  }
  const read = reader(symbols.scope, symbols.ref(target.name));
  return (frame, value) => {
    const owner = read(frame);
    if (!(owner instanceof Namespace)) throw new TemplateError("cannot assign attribute on non-namespace object");
    owner.set(target.attribute, value);
  };
}

function compileUnpacking({ items }: Extract<Target, { kind: "tuple" }>, symbols: Symbols) {
  const targets = items.map((item) => compileTarget(item, symbols));
  return (frame: Frame, value: unknown) => {
    const values = listOf(value);
    if (values.length !== targets.length) {
      const few = values.length < targets.length;
      throw new TemplateError(
        `${few ? "not enough" : "too many"} values to unpack (expected ${targets.length}, got ${values.length})`,
      );
    }
    targets.forEach((assign, i) => void assign(frame, values[i]));
  };
}

/** A frame inside another one, in the same function or one of its own: its names, and what gives them their values. */
export function inner(
  context: Context,
  read: (symbols: Symbols) => void,
  scope = context.symbols.scope,
): { readonly context: Context; readonly enter: (frame: Frame) => void } {
  const symbols = new Symbols(scope, context.symbols);
  read(symbols);
  return { context: { ...context, symbols, soft: false }, enter: entering(symbols) };
}

import * as g from "./build.js";
import { GRADIENTS } from "./gradients.js";
import { type Fn, input, type OpName, substitute, topological, type Value } from "./value.js";

/** Which results of the forward pass are kept for the backward; the others are computed again there. */
export type SavePolicy = "all" | "cheap" | "none";

const PRODUCTS: ReadonlySet<OpName> = new Set<OpName>(["matmul", "attention"]);

/** Products, and sums that end in a product (bias, residual and low-rank terms), which lower to one operator. */
const isProduct = (v: Value): boolean => PRODUCTS.has(v.op) || (v.op === "add" && v.inputs.some(isProduct));

const POLICIES: Readonly<Record<SavePolicy, (v: Value) => boolean>> = {
  all: () => true,
  cheap: isProduct,
  none: () => false,
};

/** What the gradient of an input or output is called. */
export const gradientName = (name: string): string => `d_${name}`;

/** A function with its derivative, as two functions that run at different times. */
export interface Differentiated {
  /** The function's outputs, then the values in `saved`. */
  readonly forward: Fn;
  /**
   * From the function's inputs that are needed, its outputs and the saved values that are, and the gradients of the outputs, to the
   * gradients of the wanted inputs, called as `gradientName` says.
   */
  readonly backward: Fn;
  /** Names of the values that are kept for the backward and are no outputs of the function, in order. */
  readonly saved: readonly string[];
}

/**
 * The vector-Jacobian product of `f` with respect to the inputs named in `wrt`. Only values on a path from one of them to
 * an output are visited; an input that no output depends on gets no gradient and is left out.
 */
export function gradient(f: Fn, wrt: readonly string[], save: SavePolicy = "cheap"): Differentiated {
  const outputs = Object.entries(f.outputs);
  const seeds = Object.fromEntries(outputs.map(([name, v]) => [name, input(gradientName(name), v)]));
  const grads = vjp(
    outputs.map(([name, v]) => [v, seeds[name]!]),
    wrt.map((name) => f.inputs[name]!),
  );
  const wanted = wrt.filter((name) => grads.has(f.inputs[name]!));
  const results = wanted.map((name) => grads.get(f.inputs[name]!)!);

  const forwardValues = new Set(topological(outputs.map(([, v]) => v)));
  const kept = savedValues(results, forwardValues, POLICIES[save]);
  const own = new Map(outputs.map(([name, v]) => [v, name]));
  const names = new Map(kept.map((v, i) => [v, own.get(v) ?? `saved_${i}`]));
  const stand = new Map(kept.map((v) => [v, input(names.get(v)!, v)]));
  const backwardOutputs = substitute(results, stand);
  const used = new Set(topological(backwardOutputs));
  const available = { ...f.inputs, ...byName([...stand.values(), ...Object.values(seeds)]) };
  return {
    forward: {
      name: f.name,
      inputs: f.inputs,
      outputs: { ...f.outputs, ...Object.fromEntries(kept.map((v) => [names.get(v)!, v])) },
    },
    backward: {
      name: `${f.name}_backward`,
      inputs: Object.fromEntries(Object.entries(available).filter(([, v]) => used.has(v))),
      outputs: Object.fromEntries(wanted.map((name, i) => [gradientName(name), backwardOutputs[i]!])),
    },
    saved: kept.filter((v) => !own.has(v)).map((v) => names.get(v)!),
  };
}

const byName = (inputs: readonly Value[]): Record<string, Value> =>
  Object.fromEntries(inputs.map((v) => [(v as Value<"input">).attrs.name, v]));

/** Reverse-mode sweep: from (output, its gradient) pairs to the gradient of each target that is reached. */
export function vjp(seeds: readonly (readonly [Value, Value])[], targets: readonly Value[]): Map<Value, Value> {
  const order = topological(seeds.map(([v]) => v));
  const reaching = new Set(targets);
  for (const v of order) if (v.inputs.some((x) => reaching.has(x))) reaching.add(v);
  const grads = new Map<Value, Value>();
  const accumulate = (v: Value, dv: Value) => grads.set(v, grads.has(v) ? g.add(grads.get(v)!, dv) : dv);
  for (const [v, dv] of seeds) if (reaching.has(v)) accumulate(v, dv);
  for (const v of order.reverse()) {
    const dv = grads.get(v);
    if (!dv) continue;
    const wanted = v.inputs.map((x) => reaching.has(x));
    if (!wanted.includes(true)) continue;
    const rule = GRADIENTS[v.op] as (dy: Value, y: Value, wanted: readonly boolean[]) => readonly (Value | undefined)[];
    rule(dv, v, wanted).forEach((dx, i) => {
      if (dx && wanted[i]) accumulate(v.inputs[i]!, dx);
    });
  }
  return new Map(targets.filter((t) => grads.has(t)).map((t) => [t, grads.get(t)!]));
}

/** The forward values that the backward graph should receive: walks down until the policy says "keep". */
function savedValues(results: readonly Value[], forward: ReadonlySet<Value>, keep: (v: Value) => boolean): Value[] {
  const kept: Value[] = [];
  const seen = new Set<Value>();
  const visit = (v: Value) => {
    if (seen.has(v)) return;
    seen.add(v);
    if (forward.has(v) && v.inputs.length && keep(v)) kept.push(v);
    else v.inputs.forEach(visit);
  };
  results.forEach(visit);
  return kept;
}

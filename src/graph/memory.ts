import { bytesOf } from "../tensor/index.js";
import { type Fn, topological, type Value } from "./value.js";

/** Ops whose result shares its input's memory in the engines we target. */
const ALIASES: ReadonlySet<string> = new Set(["reshape"]);

/**
 * Bytes of intermediate results alive at the worst moment of one run, by liveness in topological order. The function's
 * inputs and outputs live in the caller's buffers and are not counted.
 */
export function peakBytes(f: Fn): number {
  const order = topological(Object.values(f.outputs));
  const outputs = new Set(Object.values(f.outputs).map(owner));
  const lastUse = new Map<Value, number>();
  order.forEach((v, i) => {
    for (const x of v.inputs) lastUse.set(owner(x), i);
  });
  const counted = (v: Value) => v.inputs.length > 0 && owner(v) === v && !outputs.has(v);
  let live = 0;
  let peak = 0;
  order.forEach((v, i) => {
    if (counted(v)) live += bytesOf(v.dtype, v.shape);
    peak = Math.max(peak, live);
    for (const x of new Set(v.inputs.map(owner)))
      if (counted(x) && lastUse.get(x) === i) live -= bytesOf(x.dtype, x.shape);
  });
  return peak;
}

function owner(v: Value): Value {
  while (ALIASES.has(v.op)) v = v.inputs[0]!;
  return v;
}

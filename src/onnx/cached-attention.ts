import { type AttentionAttrs, expandCachedAttention, type Fn, topological, type Value } from "../graph/index.js";
import type { Emitter } from "./emitter.js";
import { type Attribute, ELEMENT } from "./model.js";
import { MICROSOFT } from "./node-list.js";
import { BACKENDS, type Backend, type Capabilities } from "./providers.js";

/** Whether a run adds to the caches that are its inputs. Of one token a text alone: of many, the last may be padding. */
function addsToCaches(v: Value, { cachedAttention }: Capabilities): boolean {
  if (!cachedAttention || v.op !== "cachedAttention") return false;
  const [, , tokens, width] = v.inputs[0]!.shape as [number, number, number, number];
  return tokens === 1 && width % 8 === 0 && cachesOf(v).every(isInput); // the engine takes no other widths
}

const isInput = (v: Value): v is Value<"input"> => v.op === "input";

const cachesOf = (v: Value): Value[] => v.inputs.slice(3, 5);

/** `cachedAttention`: ONNX Runtime's GroupQueryAttention where it adds to the caches, else the composition. */
export function lowerCachedAttention(e: Emitter, v: Value<"cachedAttention">): string {
  const [q, k, value, pastK, pastV, last] = v.inputs as [Value, Value, Value, Value, Value, Value];
  if (!addsToCaches(v, e.capabilities))
    return e.expanded(v, expandCachedAttention({ q, k, v: value, pastK, pastV, last }, v.attrs));
  const [rows, heads] = q.shape as [number, number];
  const [, kvHeads, capacity] = pastK.shape as [number, number, number];
  const flat = (x: Value) => e.reshape(e.value(x), x.shape, [rows, 1, x.shape[1]! * x.shape[3]!]);
  const cached = cachedCounts(e, last);
  const total = e.tensor({ dtype: "i32", shape: [1], data: Int32Array.of(capacity) });
  const [o, ...updated] = e.emitAll(
    "GroupQueryAttention",
    [flat(q), flat(k), flat(value), e.value(pastK), e.value(pastV), cached, total],
    3,
    { num_heads: heads, kv_num_heads: kvHeads, ...scoring(v.attrs) },
    MICROSOFT,
  ) as [string, string, string];
  for (const [i, input] of cachesOf(v).filter(isInput).entries()) e.updates.push({ input, from: updated[i]! });
  return e.reshape(o, [rows, 1, v.shape[1]!], v.shape);
}

/** The engine's words for what scores are made of. */
const scoring = ({ scale, softcap, window }: AttentionAttrs): Record<string, Attribute> => ({
  scale: { float: scale },
  ...(softcap > 0 ? { softcap: { float: softcap } } : {}),
  ...(window > 0 ? { local_window_size: window } : {}),
});

/** last + 1 of each text, as whole numbers; made once for all layers. */
function cachedCounts(e: Emitter, last: Value): string {
  const known = e.counts.get(last);
  if (known) return known;
  const counts = e.emit("Cast", [e.emit("Add", [e.value(last), e.scalar(1)])], { to: ELEMENT.i32 });
  const flat = e.reshape(counts, last.shape, [last.shape[0]!]);
  e.counts.set(last, flat);
  return flat;
}

/**
 * The inputs that a run of `f` also writes: each is also an output of the model, called `updatedName` of it, which an engine is
 * given in the input's own memory.
 */
export const updatedInputs = (f: Fn, backend: Backend): string[] =>
  topological(Object.values(f.outputs))
    .filter((v) => addsToCaches(v, BACKENDS[backend]))
    .flatMap((v) => cachesOf(v).filter(isInput))
    .map(({ attrs: { name } }) => name);

/** What the model calls an input after its update. */
export const updatedName = (input: string): string => `${input}'`;

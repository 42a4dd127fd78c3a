import { cast } from "./build.js";
import { type Fn, input, substitute, type Value } from "./value.js";

/**
 * The same function, with the fp32 inputs and outputs that `halves` names stored as bfloat16.
 */
export function storedAsHalves(f: Fn, halves: (name: string) => boolean): Fn {
  const chosen = ([name, v]: [string, Value]) => v.dtype === "f32" && halves(name);
  const inputs: Record<string, Value> = { ...f.inputs };
  const widened = new Map<Value, Value>();
  for (const [name, v] of Object.entries(f.inputs).filter(chosen)) {
    inputs[name] = input(name, { dtype: "bf16", shape: v.shape });
    widened.set(v, cast(inputs[name], "f32"));
  }
  const names = Object.keys(f.outputs);
  const results = substitute(Object.values(f.outputs), widened);
  const outputs = names.map((name, i) => [name, chosen([name, results[i]!]) ? cast(results[i]!, "bf16") : results[i]!]);
  return { name: f.name, inputs, outputs: Object.fromEntries(outputs) as Fn["outputs"] };
}

import { SHAPES } from "./shapes.js";
import { check, type Fn, topological, type Value } from "./value.js";

/**
 * Checks a whole function: every free input is declared under its own name, every node has the dtype and shape that its
 * op infers, and outputs are there under names of their own. Throws GraphError naming the function and the node.
 */
export function verify(f: Fn): void {
  const declared = new Set(Object.values(f.inputs));
  for (const [name, v] of Object.entries(f.inputs)) {
    check(
      v.op === "input" && (v as Value<"input">).attrs.name === name,
      f.name,
      () => `input '${name}' is not an input of that name`,
    );
  }
  check(Object.keys(f.outputs).length > 0, f.name, () => "has no outputs");
  for (const name of Object.keys(f.outputs)) {
    check(!(name in f.inputs), f.name, () => `'${name}' names both an input and an output`);
  }
  for (const v of topological(Object.values(f.outputs))) {
    if (v.op === "input") {
      check(
        declared.has(v),
        f.name,
        () => `'${(v as Value<"input">).attrs.name}' is used but not declared as an input`,
      );
      continue;
    }
    const infer = SHAPES[v.op] as (
      inputs: readonly Value[],
      attrs: unknown,
      op: string,
    ) => { dtype: string; shape: readonly number[] };
    const found = infer(v.inputs, v.attrs, v.op);
    const equal = found.dtype === v.dtype && `${found.shape}` === `${v.shape}`;
    check(equal, f.name, () => `${v.op} says ${v.dtype}[${v.shape}] but infers ${found.dtype}[${found.shape}]`);
  }
}

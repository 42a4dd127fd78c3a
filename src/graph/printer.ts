import { shown } from "./open-size.js";
import { type Fn, topological, type Value } from "./value.js";

/** A function as text, one line a node: `c:f32[2,4] = matmul a b {transB: true}`. Equal functions print equally. */
export function print(f: Fn): string {
  const names = new Map<Value, string>();
  for (const [name, v] of Object.entries(f.inputs)) names.set(v, name);
  const lines: string[] = [];
  let next = 0;
  for (const v of topological(Object.values(f.outputs))) {
    if (v.op === "input") continue;
    const name = letters(next++, names);
    names.set(v, name);
    lines.push(`  ${typed(name, v)} = ${[v.op, ...v.inputs.map((x) => names.get(x)!)].join(" ")}${attributes(v)}`);
  }
  const inputs = Object.entries(f.inputs).map(([name, v]) => typed(name, v));
  const outputs = Object.entries(f.outputs).map(([name, v]) => `${name}=${names.get(v)}`);
  return [`${f.name}(${inputs.join(", ")})`, ...lines, `  return ${outputs.join(", ")}`].join("\n");
}

const typed = (name: string, v: Value): string => `${name}:${v.dtype}[${shown(v.shape)}]`;

/** a, b, ..., z, aa, ...: the first such name not taken by an input. */
function letters(index: number, taken: ReadonlyMap<Value, string>): string {
  let name = "";
  for (let i = index + 1; i > 0; i = Math.floor((i - 1) / 26)) name = String.fromCharCode(97 + ((i - 1) % 26)) + name;
  return [...taken.values()].includes(name) ? `${name}_` : name;
}

function attributes(v: Value): string {
  if (v.op === "constant") {
    const { value } = (v as Value<"constant">).attrs;
    return ` {${value.data.length <= 4 ? `[${[...value.data].join(", ")}]` : `${value.data.length} values`}}`;
  }
  const shown = Object.entries(v.attrs).filter(([key, x]) => x !== false && !(key === "alpha" && x === 1));
  return shown.length ? ` {${shown.map(([key, x]) => `${key}: ${Array.isArray(x) ? `[${x}]` : x}`).join(", ")}}` : "";
}

import { type Fn, input, substitute } from "./value.js";

/** What an input or output of a copy is called. */
export const copyName = (name: string, copy: number): string => `${name}.${copy}`;

/** `count` copies of a function as one: each has inputs and outputs of its own, called as `copyName` says. */
export function copies(f: Fn, count: number): Fn {
  const each = Array.from({ length: count }, (_, i) => renamed(f, (name) => copyName(name, i)));
  const all = (side: "inputs" | "outputs") => Object.assign({}, ...each.map((copy) => copy[side])) as Fn["inputs"];
  return { name: f.name, inputs: all("inputs"), outputs: all("outputs") };
}

function renamed(f: Fn, rename: (name: string) => string): Fn {
  const own = Object.entries(f.inputs).map(([name, v]) => ({ name: rename(name), v, fresh: input(rename(name), v) }));
  const results = substitute(Object.values(f.outputs), new Map(own.map(({ v, fresh }) => [v, fresh])));
  return {
    name: f.name,
    inputs: Object.fromEntries(own.map(({ name, fresh }) => [name, fresh])),
    outputs: Object.fromEntries(Object.keys(f.outputs).map((name, i) => [rename(name), results[i]!])),
  };
}

import { UserError } from "../errors.js";
import type { CodeTest } from "./classes.js";
import type { Anchor, Node } from "./parse.js";

/** One step of a program; it goes on at the next one unless it says where. */
export type Instruction =
  | { readonly op: "class"; readonly test: CodeTest }
  | { readonly op: "anchor"; readonly at: Anchor; readonly word: CodeTest }
  /** Tries `first`, and `second` when that leads nowhere. */
  | { readonly op: "split"; readonly first: number; readonly second: number }
  | { readonly op: "jump"; readonly to: number }
  /** As many characters of a class as there are, or fewer when that leads nowhere. */
  | { readonly op: "loop"; readonly test: CodeTest }
  /** What stands from here to an `end` is matched by itself; the program goes on at `to`. */
  | { readonly op: "atomic"; readonly to: number }
  | { readonly op: "look"; readonly to: number; readonly back: readonly number[]; readonly holds: boolean }
  | { readonly op: "end" };

const MOST_INSTRUCTIONS = 20_000;

/** Turns a parsed expression into steps. Throws UserError where counts make them too many. */
export function compile(node: Node, where: string, source: string): readonly Instruction[] {
  const steps: Instruction[] = [];
  const wrong = (what: string) => new UserError(`${where}: ${JSON.stringify(source.slice(0, 200))}: ${what}`);
  const put = (step: Instruction): number => {
    if (steps.length >= MOST_INSTRUCTIONS) throw wrong("its counts make it too long; write smaller ones");
    return steps.push(step) - 1;
  };
  const emit = (part: Node): void => {
    if (part.kind === "class") put({ op: "class", test: part.test });
    else if (part.kind === "anchor") put({ op: "anchor", at: part.at, word: part.word });
    else if (part.kind === "all") part.parts.forEach(emit);
    else if (part.kind === "any") emitChoice(part.parts);
    else if (part.kind === "repeat") emitRepeat(part);
    else emitApart(part);
  };
  const emitChoice = (parts: readonly Node[]): void => {
    const exits: number[] = [];
    for (const part of parts.slice(0, -1)) {
      const split = put({ op: "end" });
      emit(part);
      exits.push(put({ op: "end" }));
      steps[split] = { op: "split", first: split + 1, second: steps.length };
    }
    emit(parts.at(-1)!);
    for (const exit of exits) steps[exit] = { op: "jump", to: steps.length };
  };
  const emitApart = (part: (Node & { kind: "atomic" }) | (Node & { kind: "look" })): void => {
    const at = put({ op: "end" });
    emit(part.part);
    put({ op: "end" });
    if (part.kind === "atomic") steps[at] = { op: "atomic", to: steps.length };
    else {
      const back = part.behind ? widths(part.part) : [0];
      if (!back) throw wrong("a look behind has to have a length that is known");
      steps[at] = { op: "look", to: steps.length, back, holds: part.holds };
    }
  };
  const emitRepeat = ({ part, least, most, lazy }: Node & { kind: "repeat" }): void => {
    for (let i = 0; i < least; i++) emit(part);
    if (most === Number.POSITIVE_INFINITY) {
      if (part.kind === "class" && !lazy) {
        put({ op: "loop", test: part.test });
        return;
      }
      const split = put({ op: "end" });
      emit(part);
      put({ op: "jump", to: split });
      steps[split] = branch(split + 1, steps.length, lazy);
      return;
    }
    const splits: number[] = [];
    for (let i = least; i < most; i++) {
      splits.push(put({ op: "end" }));
      emit(part);
    }
    for (const split of splits) steps[split] = branch(split + 1, steps.length, lazy);
  };
  emit(node);
  put({ op: "end" });
  return steps;
}

function branch(into: number, past: number, lazy: boolean): Instruction {
  return { op: "split", first: lazy ? past : into, second: lazy ? into : past };
}

/** How many characters a part can be long, or undefined where that is not fixed. */
function widths(node: Node): number[] | undefined {
  switch (node.kind) {
    case "class":
      return [1];
    case "anchor":
    case "look":
      return [0];
    case "atomic":
      return widths(node.part);
    case "any": {
      const all = node.parts.map(widths);
      return all.includes(undefined) ? undefined : [...new Set(all.flat() as number[])];
    }
    case "all":
      return node.parts.reduce<number[] | undefined>((sum, part) => combined(sum, widths(part)), [0]);
    case "repeat":
      if (node.least !== node.most) return undefined;
      return Array.from({ length: Math.min(node.least, 256) }, () => node.part).reduce<number[] | undefined>(
        (sum, part) => combined(sum, widths(part)),
        [0],
      );
  }
}

function combined(a: number[] | undefined, b: number[] | undefined): number[] | undefined {
  if (!a || !b || a.length * b.length > 64) return undefined;
  return [...new Set(a.flatMap((x) => b.map((y) => x + y)))];
}

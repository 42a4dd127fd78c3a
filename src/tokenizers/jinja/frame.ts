import type { FunctionScope, Slot, Symbols } from "./symbols.js";
import { longestText, STEP, spend, TemplateError } from "./work.js";

/** Where text is written to. */
export class Output {
  readonly #pieces: string[] = [];
  #length = 0;
  /** Is it the text itself, and not what a macro or a block captures? */
  readonly whole: boolean;
  constructor(whole: boolean) {
    this.whole = whole;
  }
  get length(): number {
    return this.#length;
  }
  write(text: string): void {
    this.#length += text.length;
    spend(text.length + STEP);
    if (this.#length > longestText) throw new TemplateError(`it writes more than ${longestText} characters`);
    this.#pieces.push(text);
  }
  text(): string {
    return this.#pieces.join("");
  }
}

/** What belongs to one render: variables from outside and what is kept beside the text. */
export interface Render {
  /** A variable from outside, or undefined when there is none. */
  readonly resolve: (name: string) => unknown;
  /** Characters [start, end) inside `{% generation %}`. */
  readonly spans: (readonly [start: number, end: number])[];
  /** Was `{% generation %}` met where its place in the text is not known? */
  unlocated: boolean;
  /** The line that runs. */
  line: number;
  /** Macros and recursive loops that run inside one another. */
  depth: number;
}

/** One run of a function: its variables, those of the functions around it, and where it writes. */
export class Frame {
  readonly vars: unknown[] = [];
  readonly parent: Frame | undefined;
  readonly render: Render;
  out: Output;
  constructor(render: Render, out: Output, parent?: Frame) {
    this.render = render;
    this.out = out;
    this.parent = parent;
  }
}

/** Most macros and recursive loops inside one another: about what Python's stack takes. */
const deepest = 180;

/** Runs a function of the template in a frame of its own; gives what it wrote. */
export function runFunction(parent: Frame, body: (frame: Frame) => void): string {
  const { render } = parent;
  spend(4 * STEP);
  if (++render.depth > deepest) throw new TemplateError(`it calls itself more than ${deepest} times`);
  const { line } = render;
  const frame = new Frame(render, new Output(false), parent);
  body(frame);
  render.line = line;
  render.depth--;
  return frame.out.text();
}

/** Reads a variable from where a piece of code stands. */
export function reader(from: FunctionScope, slot: Slot): (frame: Frame) => unknown {
  const hops = distance(from, slot.scope);
  const { index } = slot;
  if (hops === 0) return (frame) => frame.vars[index];
  if (hops === 1) return (frame) => frame.parent!.vars[index];
  return (frame) => {
    let at = frame;
    for (let i = 0; i < hops; i++) at = at.parent!;
    return at.vars[index];
  };
}

function distance(from: FunctionScope, to: FunctionScope): number {
  let hops = 0;
  for (let scope: FunctionScope | undefined = from; scope && scope !== to; scope = scope.parent) hops++;
  return hops;
}

/** Gives the variables of a frame what they begin with. */
export function entering(symbols: Symbols): (frame: Frame) => void {
  const steps: ((frame: Frame) => void)[] = [];
  for (const [{ index }, load] of symbols.loads) {
    if (load.kind === "resolve") steps.push((frame) => void (frame.vars[index] = frame.render.resolve(load.name)));
    else if (load.kind === "undefined") steps.push((frame) => void (frame.vars[index] = undefined));
    else if (load.kind === "alias") {
      const read = reader(symbols.scope, load.of);
      steps.push((frame) => void (frame.vars[index] = read(frame)));
    }
  }
  return (frame) => {
    for (const step of steps) step(frame);
  };
}

import type { CodeTest } from "./classes.js";
import type { Anchor } from "./parse.js";
import type { Instruction } from "./program.js";

/** A search that takes more steps than this remembers the states that led nowhere. */
const STEPS_UNREMEMBERED = 512;
const BLOCK = 256;

/** What all searches of one text may take together. */
export interface Budget {
  steps: number;
  readonly most: number;
  readonly refuse: () => Error;
}

/** States (instruction, position) that were entered before, in blocks of positions. */
class Entered {
  private readonly blocks = new Map<number, Uint8Array>();
  private readonly width: number;

  constructor(width: number) {
    this.width = width;
  }

  /** Was this state entered before? It is now. */
  again(pc: number, at: number): boolean {
    const key = Math.floor(at / BLOCK);
    let block = this.blocks.get(key);
    if (!block) this.blocks.set(key, (block = new Uint8Array(this.width * BLOCK)));
    const index = pc * BLOCK + (at % BLOCK);
    const before = block[index] === 1;
    block[index] = 1;
    return before;
  }
}

/**
 * One search through one text: backtracking, in the order that Perl's engines have. What follows from a state does not
 * depend on how it was come by, so none is entered twice.
 */
export class Search {
  private readonly begun: number;
  private entered: Entered | undefined;
  /** The last stretch that each loop ran over. */
  private readonly loops = new Map<number, readonly [from: number, to: number]>();
  /** Alternatives to come back to, three numbers each: instruction, position, and the last position to give back. */
  private stack: number[] = [];
  private readonly program: readonly Instruction[];
  private readonly text: string;
  private readonly budget: Budget;

  constructor(program: readonly Instruction[], text: string, budget: Budget) {
    this.program = program;
    this.text = text;
    this.budget = budget;
    this.begun = budget.steps;
  }

  /** The end of the match from `entry` on that begins at `start`, and ends at `target` if given; -1 where there is none. */
  match(entry: number, start: number, target = -1): number {
    this.stack = [entry, start, start];
    while (this.stack.length > 0) {
      const floor = this.stack.pop()!;
      const at = this.stack.pop()!;
      const pc = this.stack.pop()!;
      if (floor < at) this.stack.push(pc, before(this.text, at), floor);
      const end = this.enter(pc, at) ? this.forward(pc, at, target) : -1;
      if (end >= 0) return end;
    }
    return -1;
  }

  /** Goes on from a state to the end of a match, or to where it fails (-1). */
  private forward(pc: number, at: number, target: number): number {
    const { program, text, stack } = this;
    for (;;) {
      const step = program[pc]!;
      this.count(1);
      switch (step.op) {
        case "end":
          return target < 0 || at === target ? at : -1;
        case "class": {
          const code = text.codePointAt(at);
          if (code === undefined || !step.test(code)) return -1;
          at += code > 0xffff ? 2 : 1;
          pc++;
          break;
        }
        case "jump":
          pc = step.to;
          break;
        case "split":
          stack.push(step.second, at, at);
          pc = step.first;
          if (!this.enter(pc, at)) return -1;
          break;
        case "loop": {
          const end = this.run(pc++, at, step.test);
          if (end < 0) return -1;
          if (end > at) stack.push(pc, before(text, end), at);
          at = end;
          break;
        }
        case "anchor":
          if (!holdsAt(step.at, text, at, step.word)) return -1;
          pc++;
          break;
        case "look":
          if (this.looks(pc + 1, at, step.back) !== step.holds) return -1;
          pc = step.to;
          break;
        case "atomic":
          at = this.apart(pc + 1, at);
          if (at < 0) return -1;
          pc = step.to;
      }
    }
  }

  private count(steps: number): void {
    this.budget.steps += steps;
    if (this.budget.steps > this.budget.most) throw this.budget.refuse();
  }

  private enter(pc: number, at: number): boolean {
    if (this.budget.steps - this.begun < STEPS_UNREMEMBERED) return true;
    this.entered ??= new Entered(this.program.length);
    return !this.entered.again(pc, at);
  }

  /**
   * The last place, from `at` on, where this loop may end and was not before; -1 where there is none. Where the loop comes
   * to a stretch that it ran over before, all of that stretch's ends were tried.
   */
  private run(pc: number, at: number, test: CodeTest): number {
    const [first, last] = this.loops.get(pc) ?? [-1, -1];
    if (at >= first && at <= last) return -1;
    const { text } = this;
    let end = at;
    for (let code = text.codePointAt(end); code !== undefined && test(code); code = text.codePointAt(end)) {
      end += code > 0xffff ? 2 : 1;
      if (end === first) break;
    }
    this.count((end - at) / 4);
    this.loops.set(pc, [at, end === first ? last : end]);
    return end === first ? before(text, end) : end;
  }

  /** What is matched by itself has a memory of its own: it may end well here and be asked again. */
  private apart(entry: number, at: number, target = -1): number {
    return new Search(this.program, this.text, this.budget).match(entry, at, target);
  }

  private looks(entry: number, at: number, back: readonly number[]): boolean {
    return back.some((characters) => {
      let start = at;
      for (let i = 0; i < characters; i++) start = start > 0 ? before(this.text, start) : -1;
      return start >= 0 && this.apart(entry, start, characters === 0 ? -1 : at) >= 0;
    });
  }
}

/** The position one character before. */
function before(text: string, at: number): number {
  return at > 1 && text.codePointAt(at - 2)! > 0xffff ? at - 2 : at - 1;
}

/** The position one character on. */
export function after(text: string, at: number): number {
  return at + ((text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1);
}

function holdsAt(anchor: Anchor, text: string, at: number, word: CodeTest): boolean {
  const isNewline = (i: number) => text.charCodeAt(i) === 10;
  const isWord = (i: number) => i >= 0 && i < text.length && word(text.codePointAt(i)!);
  switch (anchor) {
    case "textStart":
      return at === 0;
    case "textEnd":
      return at === text.length;
    case "lastLineEnd":
      return at === text.length || (at === text.length - 1 && isNewline(at));
    case "lineStart":
      return at === 0 || (isNewline(at - 1) && at < text.length);
    case "lineEnd":
      return at === text.length || isNewline(at);
    case "edge":
    case "inside":
      return (isWord(before(text, at)) !== isWord(at)) === (anchor === "edge");
  }
}

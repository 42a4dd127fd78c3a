import { at, BREAK, type Context, compileTarget, GO_ON, inner, type Outcome, type Run } from "./context.js";
import { compileExpression } from "./expressions.js";
import { Frame, runFunction } from "./frame.js";
import { fail } from "./lexer.js";
import { Loop } from "./loop.js";
import type { StatementOf } from "./nodes.js";
import { eachUse, FunctionScope, type Slot, undeclared } from "./symbols.js";
import { Generator, iterate, truthy } from "./values.js";
import { STEP, spend } from "./work.js";

type For = StatementOf<"for">;

/** Runs the body for every item, or the else branch. */
type Cycle = (
  frame: Frame,
  over: unknown,
  depth0: number,
  recurse?: (over: unknown, depth0: number) => string,
) => Outcome;

/** A for loop, with its filter, its else branch and recursion. */
export function compileFor(statement: For, context: Context): Run {
  refuseLoopAsTarget(statement);
  const over = at(statement.line, compileExpression(statement.over, context));
  if (!statement.recursive) {
    const cycle = compileCycle(statement, context, context.symbols.scope);
    return (frame) => cycle(frame, over(frame), 0);
  }
  const cycle = compileCycle(statement, { ...context, loop: false }, new FunctionScope(context.symbols.scope));
  return (frame) => {
    const recurse = (items: unknown, depth0: number): string =>
      runFunction(frame, (inside) => void cycle(inside, items, depth0, recurse));
    frame.out.write(recurse(over(frame), 0));
    return GO_ON;
  };
}

function refuseLoopAsTarget(statement: For): void {
  eachUse([statement], (name, stored) => {
    if (stored && name === "loop") fail("Can't assign to special loop variable in for-loop target", statement.line);
  });
}

function compileCycle(statement: For, outer: Context, scope: FunctionScope): Cycle {
  const { target, body, otherwise, recursive } = statement;
  const extended = recursive || undeclared(body, ["loop"]).has("loop");
  let loopSlot: Slot | undefined;
  const own = inner(
    outer,
    (symbols) => {
      if (extended) loopSlot = symbols.declare("loop");
      symbols.target(target, true);
      symbols.statements(body);
    },
    scope,
  );
  const assign = compileTarget(target, own.context.symbols);
  const run = own.context.compile(body, { ...own.context, loop: true });
  const rest = inner(outer, (symbols) => symbols.statements(otherwise), scope);
  const runRest = own.context.compile(otherwise, rest.context);
  const select = compileSelection(statement, outer);
  return (frame, over, depth0, recurse) => {
    const items = select ? select(frame, over) : iterate(over);
    const loop = loopSlot && new Loop(select ? new Generator(items) : over, items, depth0, recurse);
    let whole = false; // did a turn of the loop reach its end?
    const turn = (item: unknown): boolean => {
      spend(STEP);
      if (loop) frame.vars[loopSlot!.index] = loop;
      assign(frame, item);
      own.enter(frame);
      const outcome = run(frame);
      whole ||= outcome === GO_ON;
      return outcome !== BREAK;
    };
    if (loop) while (loop.advance() && turn(loop.item));
    else for (const item of items) if (!turn(item)) break;
    if (whole || otherwise.length === 0) return GO_ON;
    rest.enter(frame);
    return runRest(frame);
  };
}

/** The items that pass the loop's `if`, one at a time. */
function compileSelection({ target, test, recursive }: For, outer: Context) {
  if (!test) return undefined;
  const scope = new FunctionScope(outer.symbols.scope);
  const own = inner(
    outer,
    (symbols) => {
      symbols.target(target, true);
      symbols.expression(test);
    },
    scope,
  );
  const assign = compileTarget(target, own.context.symbols);
  const holds = at(test.line, compileExpression(test, own.context));
  return function* (frame: Frame, over: unknown): Iterable<unknown> {
    const inside = new Frame(frame.render, frame.out, recursive ? frame.parent : frame);
    own.enter(inside);
    for (const item of iterate(over)) {
      spend(STEP);
      assign(inside, item);
      if (truthy(holds(inside))) yield item;
    }
  };
}

import { at, BREAK, CONTINUE, type Context, compileTarget, GO_ON, inner, type Outcome, type Run } from "./context.js";
import { compileCall, compileExpression, compileFilter, type Evaluate, type Place } from "./expressions.js";
import { type Frame, Output } from "./frame.js";
import { fail } from "./lexer.js";
import { compileMacro } from "./macro.js";
import type { FilterExpression, Statement, StatementOf } from "./nodes.js";
import { str } from "./print.js";
import { compileFor } from "./statement-for.js";
import { noKwargs, truthy } from "./values.js";
import { TemplateError } from "./work.js";

/** Statements, run one after the other. */
export function compileBody(statements: readonly Statement[], context: Context): Run {
  const runs = statements.map((statement) => compileStatement(statement, context));
  if (runs.length === 1) return runs[0]!;
  return (frame) => {
    for (const run of runs) {
      const outcome = run(frame);
      if (outcome !== GO_ON) return outcome;
    }
    return GO_ON;
  };
}

function compileStatement(statement: Statement, context: Context): Run {
  try {
    const compile = compilers[statement.kind] as (statement: Statement, context: Context) => Run;
    return compile(statement, context);
  } catch (error) {
    if (error instanceof TemplateError) error.line ??= statement.line;
    throw error;
  }
}

type Compilers = { readonly [K in Statement["kind"]]: (statement: StatementOf<K>, context: Context) => Run };

const compilers: Compilers = {
  output: compileOutput,
  for: compileFor,
  if: compileIf,
  set: compileSet,
  setBlock: compileSetBlock,
  with: compileWith,
  macro: (statement, context) => {
    const { index } = context.symbols.ref(statement.name);
    const make = compileMacro(statement, statement.name, context);
    return (frame) => {
      frame.vars[index] = make(frame);
      return GO_ON;
    };
  },
  callBlock: compileCallBlock,
  filterBlock: compileFilterBlock,
  generation: compileGeneration,
  break: (statement, context) => jump(statement, context, BREAK),
  continue: (statement, context) => jump(statement, context, CONTINUE),
};

function jump({ kind, line }: StatementOf<"break" | "continue">, { loop }: Context, outcome: Outcome): Run {
  if (!loop) fail(`'${kind}' outside of a loop`, line);
  return () => outcome;
}

function compileOutput({ items }: StatementOf<"output">, context: Context): Run {
  const parts = items.map((item) =>
    typeof item === "string" ? item : at(item.line, compileExpression(item, context)),
  );
  return (frame) => {
    for (const part of parts) {
      if (typeof part === "string") frame.out.write(part);
      else {
        const value = part(frame);
        frame.out.write(typeof value === "string" ? value : str(value));
      }
    }
    return GO_ON;
  };
}

function compileIf({ branches, otherwise }: StatementOf<"if">, context: Context): Run {
  const inside: Context = { ...context, soft: true };
  const compiled = branches.map(({ test, body }) => ({
    test: at(test.line, compileExpression(test, inside)),
    body: compileBody(body, inside),
  }));
  const last = compileBody(otherwise, inside);
  return (frame) => {
    for (const { test, body } of compiled) if (truthy(test(frame))) return body(frame);
    return last(frame);
  };
}

function compileSet({ target, value, line }: StatementOf<"set">, context: Context): Run {
  const evaluate = at(line, compileExpression(value, context));
  const assign = compileTarget(target, context.symbols);
  return (frame) => {
    assign(frame, evaluate(frame));
    return GO_ON;
  };
}

/** Runs a body with what it writes kept apart. */
function captured(body: Run): (frame: Frame) => { outcome: Outcome; text: string } {
  return (frame) => {
    const { out } = frame;
    frame.out = new Output(false);
    const outcome = body(frame);
    const text = outcome === GO_ON ? frame.out.text() : "";
    frame.out = out;
    return { outcome, text };
  };
}

/** A filter, or a chain of them, on a text that is only known when it runs. */
function compileTextFilter(
  filter: FilterExpression | undefined,
  place: Place,
): (frame: Frame, text: string) => unknown {
  if (!filter) return (_, text) => text;
  let text = "";
  const chain = (expression: FilterExpression): Evaluate => {
    const { name, of, line, ...given } = expression;
    const value: Evaluate = of ? chain(of as FilterExpression) : () => text;
    return compileFilter(name, value, given, place, line);
  };
  const evaluate = chain(filter);
  return (frame, captured) => {
    text = captured;
    return evaluate(frame);
  };
}

function compileSetBlock({ target, filter, body, line }: StatementOf<"setBlock">, context: Context): Run {
  const block = inner(context, (symbols) => symbols.statements(body));
  const capture = captured(compileBody(body, block.context));
  const change = compileTextFilter(filter, block.context);
  const assign = compileTarget(target, context.symbols);
  return (frame) => {
    block.enter(frame);
    const { outcome, text } = capture(frame);
    if (outcome !== GO_ON) return outcome;
    frame.render.line = line;
    assign(frame, change(frame, text));
    return GO_ON;
  };
}

function compileWith({ targets, values, body, line }: StatementOf<"with">, context: Context): Run {
  const block = inner(context, (symbols) => {
    for (const target of targets) symbols.target(target, true);
    symbols.statements(body);
  });
  const pairs = targets.map((target, i) => ({
    assign: compileTarget(target, block.context.symbols),
    value: at(line, compileExpression(values[i]!, context)),
  }));
  const run = compileBody(body, block.context);
  return (frame) => {
    block.enter(frame);
    for (const { assign, value } of pairs) assign(frame, value(frame));
    return run(frame);
  };
}

function compileFilterBlock({ filter, body, line }: StatementOf<"filterBlock">, context: Context): Run {
  const block = inner(context, (symbols) => {
    symbols.statements(body);
    symbols.expression(filter);
  });
  const capture = captured(compileBody(body, block.context));
  const change = compileTextFilter(filter, block.context);
  return (frame) => {
    block.enter(frame);
    const { outcome, text } = capture(frame);
    if (outcome !== GO_ON) return outcome;
    frame.render.line = line;
    frame.out.write(str(change(frame, text)));
    return GO_ON;
  };
}

function compileCallBlock(statement: StatementOf<"callBlock">, context: Context): Run {
  const { call, line } = statement;
  if (call.kwargs.some(({ name }) => name === "caller")) fail("keyword argument repeated: caller", line);
  const makeCaller = compileMacro(statement, undefined, context);
  const run = compileCall(call, context);
  return (frame) => {
    frame.render.line = line;
    frame.out.write(str(run(frame, makeCaller(frame))));
    return GO_ON;
  };
}

/** What the assistant writes: where it is in the text is kept, unless a macro or block captures it. */
function compileGeneration({ body, line }: StatementOf<"generation">, context: Context): Run {
  const makeCaller = compileMacro({ body, parameters: [], defaults: [], line }, undefined, context);
  return (frame) => {
    const { out, render } = frame;
    const text = str(makeCaller(frame).call([], noKwargs));
    const start = out.length;
    out.write(text);
    if (out.whole) render.spans.push([start, out.length]);
    else render.unlocated = true;
    return GO_ON;
  };
}

import { call, getAttribute, getItem } from "./attributes.js";
import { type Frame, reader } from "./frame.js";
import type { Arguments, CallExpression, Expression } from "./nodes.js";
import { binary, compares, concatenate, signed } from "./operators.js";
import { filters, refusedFilters, tests } from "./registry.js";
import { slice } from "./sequences.js";
import type { Symbols } from "./symbols.js";
import {
  Dict,
  dictEntries,
  isDict,
  iterate,
  type Kwargs,
  noKwargs,
  Tuple,
  truthy,
  typeName,
  Undefined,
} from "./values.js";
import { STEP, spend, spendItems, TemplateError, Unsupported } from "./work.js";

/** An expression that can be evaluated. */
export type Evaluate = (frame: Frame) => unknown;

/** Where an expression stands: its names, and whether filters may be unknown as long as they do not run. */
export interface Place {
  readonly symbols: Symbols;
  readonly soft: boolean;
}

type Compilers = {
  readonly [K in Expression["kind"]]: (expression: Extract<Expression, { kind: K }>, place: Place) => Evaluate;
};

/** Makes an expression ready to run. Throws TemplateError for filters and tests that do not exist. */
export function compileExpression(expression: Expression, place: Place): Evaluate {
  const compile = compilers[expression.kind] as (expression: Expression, place: Place) => Evaluate;
  return compile(expression, place);
}

const compilers: Compilers = {
  constant:
    ({ value }) =>
    () =>
      value,
  name: ({ name }, { symbols }) => {
    const read = reader(symbols.scope, symbols.ref(name));
    return (frame) => {
      const value = read(frame);
      return value === undefined ? new Undefined(() => `'${name}' is undefined`) : value;
    };
  },
  tuple: ({ items }, place) => {
    const all = evaluateAll(items, place);
    return (frame) => new Tuple(all(frame));
  },
  list: ({ items }, place) => evaluateAll(items, place),
  concat: ({ items }, place) => {
    const all = evaluateAll(items, place);
    return (frame) => concatenate(all(frame));
  },
  dict: ({ pairs }, place) => {
    const compiled = pairs.map(
      ([key, value]) => [compileExpression(key, place), compileExpression(value, place)] as const,
    );
    return (frame) => new Dict(compiled.map(([key, value]) => [key(frame), value(frame)] as const));
  },
  condition: ({ test, yes, no, line }, { symbols }) => {
    const place = { symbols, soft: true };
    const [check, then] = [compileExpression(test, place), compileExpression(yes, place)];
    const otherwise = no && compileExpression(no, place);
    const message = `the inline if-expression on line ${line} evaluated to false and no else section was defined.`;
    return (frame) => {
      if (truthy(check(frame))) return then(frame);
      return otherwise ? otherwise(frame) : new Undefined(message);
    };
  },
  and: ({ left, right }, place) => {
    const [first, second] = [compileExpression(left, place), compileExpression(right, place)];
    return (frame) => {
      const value = first(frame);
      return truthy(value) ? second(frame) : value;
    };
  },
  or: ({ left, right }, place) => {
    const [first, second] = [compileExpression(left, place), compileExpression(right, place)];
    return (frame) => {
      const value = first(frame);
      return truthy(value) ? value : second(frame);
    };
  },
  not: ({ of }, place) => {
    const value = compileExpression(of, place);
    return (frame) => !truthy(value(frame));
  },
  negative: ({ of }, place) => sign(compileExpression(of, place), true),
  positive: ({ of }, place) => sign(compileExpression(of, place), false),
  binary: ({ operator, left, right }, place) => {
    const [first, second] = [compileExpression(left, place), compileExpression(right, place)];
    return (frame) => binary(operator, first(frame), second(frame));
  },
  compare: ({ first, rest }, place) => {
    const start = compileExpression(first, place);
    const steps = rest.map(({ operator, value }) => ({ operator, value: compileExpression(value, place) }));
    return (frame) => {
      let left = start(frame);
      for (const { operator, value } of steps) {
        const right = value(frame);
        if (!compares(operator, left, right)) return false;
        left = right;
      }
      return true;
    };
  },
  attribute: ({ of, name }, place) => {
    const value = compileExpression(of, place);
    return (frame) => getAttribute(value(frame), name);
  },
  item: ({ of, key }, place) => {
    const [value, index] = [compileExpression(of, place), compileExpression(key, place)];
    return (frame) => getItem(value(frame), index(frame));
  },
  slice: ({ of, bounds }, place) => {
    const value = compileExpression(of, place);
    const ends = bounds.map((bound) => bound && compileExpression(bound, place));
    return (frame) => {
      const sliced = value(frame);
      return slice(
        sliced,
        ends.map((end) => end?.(frame)),
      );
    };
  },
  call: (expression, place) => {
    const called = compileCall(expression, place);
    return (frame) => called(frame);
  },
  filter: ({ name, of, line, ...given }, place) => {
    const value = of && compileExpression(of, place);
    if (!value) throw new TemplateError(`the filter '${name}' has nothing to work on`);
    return compileFilter(name, value, given, place, line);
  },
  test: ({ name, of, line, ...given }, place) => {
    const value = compileExpression(of, place);
    const args = compileArguments(given, place);
    const test = Object.hasOwn(tests, name) ? tests[name] : undefined;
    if (!test) return unknown("test", name, place, line);
    return (frame) => test(value(frame), args.positional(frame), args.named(frame));
  },
};

/** A call; `caller`, where there is one, is given to it by that name. */
export function compileCall(
  { callee, ...given }: CallExpression,
  place: Place,
): (frame: Frame, caller?: unknown) => unknown {
  const called = compileExpression(callee, place);
  const args = compileArguments(given, place);
  return (frame, caller) => {
    const value = called(frame);
    const positional = args.positional(frame);
    const named = args.named(frame);
    if (caller === undefined) return call(value, positional, named);
    if (named.has("caller")) throw new TemplateError("got multiple values for keyword argument 'caller'");
    return call(value, positional, new Map([...named, ["caller", caller]]));
  };
}

function sign(value: Evaluate, negative: boolean): Evaluate {
  return (frame) => signed(value(frame), negative);
}

/** A filter on a value, which may be what a block captured. */
export function compileFilter(name: string, value: Evaluate, given: Arguments, place: Place, line: number): Evaluate {
  const args = compileArguments(given, place);
  const filter = Object.hasOwn(filters, name) ? filters[name] : undefined;
  if (!filter) return unknown("filter", name, place, line);
  return (frame) => {
    spend(STEP);
    const subject = value(frame);
    return filter(subject, args.positional(frame), args.named(frame));
  };
}

/** jinja2 finds out at once, but in an if when it runs. */
function unknown(what: "filter" | "test", name: string, { soft }: Place, line: number): Evaluate {
  const refused = what === "filter" && (refusedFilters as readonly string[]).includes(name);
  const error = refused ? new Unsupported(`the filter '${name}'`) : new TemplateError(`No ${what} named '${name}'.`);
  if (!soft) {
    error.line = line;
    throw error;
  }
  return () => {
    throw error;
  };
}

function evaluateAll(items: readonly Expression[], place: Place): (frame: Frame) => unknown[] {
  const compiled = items.map((item) => compileExpression(item, place));
  return (frame) => {
    spendItems(compiled.length);
    return compiled.map((item) => item(frame));
  };
}

/** The arguments of a call, as they are given. */
function compileArguments({ args, kwargs, star, starStar }: Arguments, place: Place) {
  const listed = args.map((arg) => compileExpression(arg, place));
  const named = kwargs.map(({ name, value }) => [name, compileExpression(value, place)] as const);
  const more = star && compileExpression(star, place);
  const moreNamed = starStar && compileExpression(starStar, place);
  const positional = (frame: Frame): unknown[] => {
    const values = listed.map((arg) => arg(frame));
    if (more) for (const value of iterate(more(frame))) values.push(value);
    return values;
  };
  const byName = (frame: Frame): Kwargs => {
    const values = new Map<string, unknown>(named.map(([name, value]) => [name, value(frame)]));
    if (!moreNamed) return values;
    const given = moreNamed(frame);
    if (!isDict(given)) throw new TemplateError(`argument after ** must be a mapping, not ${typeName(given)}`);
    for (const [key, value] of dictEntries(given)) {
      if (typeof key !== "string") throw new TemplateError("keywords must be strings");
      if (values.has(key)) throw new TemplateError(`got multiple values for keyword argument '${key}'`);
      values.set(key, value);
    }
    return values;
  };
  return { positional, named: named.length === 0 && !moreNamed ? () => noKwargs : byName };
}

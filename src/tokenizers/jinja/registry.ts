import { type Filter, plainFilters, refusedFilters } from "./filters.js";
import { pathOf } from "./filters-list.js";
import { plainTests, type Test } from "./tests.js";
import { Generator, iterate, type Kwargs, textOf, truthy } from "./values.js";
import { STEP, spend, TemplateError, Unsupported } from "./work.js";

export { refusedFilters };

function filterNamed(name: unknown): Filter {
  const text = textOf(name) ?? "";
  if (Object.hasOwn(filters, text)) return filters[text]!;
  if ((refusedFilters as readonly string[]).includes(text)) throw new Unsupported(`the filter '${text}'`);
  throw new TemplateError(`No filter named '${text}'.`);
}

function testNamed(name: unknown): Test {
  const text = textOf(name) ?? "";
  if (Object.hasOwn(tests, text)) return tests[text]!;
  throw new TemplateError(`No test named '${text}'.`);
}

/** What `map` does with an item: a filter by its name, or a path of attributes. */
function mapping(args: readonly unknown[], kwargs: Kwargs): (item: unknown) => unknown {
  if (args.length === 0 && kwargs.has("attribute")) {
    const unexpected = [...kwargs.keys()].find((name) => name !== "attribute" && name !== "default");
    if (unexpected !== undefined) throw new TemplateError(`Unexpected keyword argument '${unexpected}'`);
    return pathOf(kwargs.get("attribute"), kwargs.get("default") ?? null);
  }
  if (args.length === 0) throw new TemplateError("map requires a filter argument");
  const [name, ...rest] = args;
  return (item) => filterNamed(name)(item, rest, kwargs);
}

function* map(value: unknown, args: readonly unknown[], kwargs: Kwargs): Iterable<unknown> {
  if (!truthy(value)) return;
  const change = mapping(args, kwargs);
  for (const item of iterate(value)) {
    spend(STEP);
    yield change(item);
  }
}

/** What `select` and its like ask of an item: a test by its name, or whether it is true. */
function condition(args: readonly unknown[], kwargs: Kwargs, byAttribute: boolean): (item: unknown) => boolean {
  if (byAttribute && args.length === 0) throw new TemplateError("Missing parameter for attribute name");
  const path = byAttribute ? pathOf(args[0]) : (item: unknown) => item;
  const [name, ...rest] = byAttribute ? args.slice(1) : args;
  if (args.length === (byAttribute ? 1 : 0)) return (item) => truthy(path(item));
  return (item) => testNamed(name)(path(item), rest, kwargs);
}

const selecting = (wanted: boolean, byAttribute: boolean): Filter => {
  function* select(value: unknown, args: readonly unknown[], kwargs: Kwargs): Iterable<unknown> {
    if (!truthy(value)) return;
    const holds = condition(args, kwargs, byAttribute);
    for (const item of iterate(value)) {
      spend(STEP);
      if (holds(item) === wanted) yield item;
    }
  }
  return (value, args, kwargs) => new Generator(select(value, args, kwargs));
};

/** All filters by name. */
export const filters: Readonly<Record<string, Filter>> = {
  ...plainFilters,
  map: (value, args, kwargs) => new Generator(map(value, args, kwargs)),
  select: selecting(true, false),
  reject: selecting(false, false),
  selectattr: selecting(true, true),
  rejectattr: selecting(false, true),
};

/** All tests by name. */
export const tests: Readonly<Record<string, Test>> = {
  ...plainTests,
  filter: (value) => {
    const name = textOf(value) ?? "";
    return Object.hasOwn(filters, name) || (refusedFilters as readonly string[]).includes(name);
  },
  test: (value) => Object.hasOwn(tests, textOf(value) ?? ""),
};

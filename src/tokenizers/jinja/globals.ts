import { bind, required } from "./arguments.js";
import { asInt, asText } from "./methods.js";
import { repr, str } from "./print.js";
import { strftime } from "./strftime.js";
import {
  Callable,
  Dict,
  dictEntries,
  isDict,
  iterate,
  type Kwargs,
  listOf,
  PyObject,
  Range,
  textOf,
} from "./values.js";
import { Raised, TemplateError, Unsupported } from "./work.js";

/** What `namespace()` gives: the one object whose attributes a template can set. */
export class Namespace extends PyObject {
  override readonly type = "Namespace";
  readonly #attributes: Dict;
  constructor(attributes: Dict) {
    super();
    this.#attributes = attributes;
    for (const [name] of dictEntries(attributes)) checkName(name);
  }
  override attribute(name: string): unknown {
    return this.#attributes.entries.get(name)?.[1];
  }
  set(name: string, value: unknown): void {
    checkName(name);
    this.#attributes.set(name, value);
  }
  override print(): string {
    return `<Namespace ${repr(this.#attributes)}>`;
  }
}

function checkName(name: unknown): void {
  if (textOf(name)?.startsWith("_")) {
    throw new TemplateError(
      `a namespace cannot have an attribute that begins with an underscore, such as ${repr(name)}`,
    );
  }
}

/** Python's `dict(pairs or mapping, **more)`. */
function dictOf(args: readonly unknown[], kwargs: Kwargs): Dict {
  if (args.length > 1) throw new TemplateError(`dict expected at most 1 argument, got ${args.length}`);
  const dict = new Dict();
  const [from] = args;
  if (isDict(from)) for (const [key, value] of dictEntries(from)) dict.set(key, value);
  else if (from !== undefined) {
    for (const pair of iterate(from)) {
      const items = listOf(pair);
      if (items.length !== 2) throw new TemplateError("a dict is made of pairs");
      dict.set(items[0], items[1]);
    }
  }
  for (const [key, value] of kwargs) dict.set(key, value);
  return dict;
}

class DictMaker extends Callable {
  override readonly type = "TemplateDict";
  constructor() {
    super("dict", dictOf);
  }
  override attribute(name: string): unknown {
    if (name !== "fromkeys") return undefined;
    return new Callable(name, ([keys, value = null]) => new Dict(listOf(keys).map((key) => [key, value])));
  }
}

/** Longest range that jinja2's sandbox makes. */
const longestRange = 100_000;

function range(args: readonly unknown[], kwargs: Kwargs): Range {
  if (kwargs.size > 0) throw new TemplateError("range() takes no keyword arguments");
  if (args.length < 1 || args.length > 3) throw new TemplateError("range expected 1 to 3 arguments");
  const [first, second, step = 1] = args.map(asInt) as [number, number?, number?];
  if (step === 0) throw new TemplateError("range() arg 3 must not be zero");
  const made = second === undefined ? new Range(0, first, 1) : new Range(first, second, step);
  if (made.count > longestRange) {
    throw new TemplateError(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${longestRange}).`);
  }
  return made;
}

class Cycler extends PyObject {
  override readonly type = "Cycler";
  readonly #items: readonly unknown[];
  #at = 0;
  constructor(items: readonly unknown[]) {
    super();
    if (items.length === 0) throw new TemplateError("at least one item has to be provided");
    this.#items = items;
  }
  override attribute(name: string): unknown {
    if (name === "current") return this.#items[this.#at];
    if (name === "next") return new Callable(name, () => this.#next());
    return name === "reset" ? new Callable(name, () => this.#reset()) : undefined;
  }
  #next(): unknown {
    const item = this.#items[this.#at];
    this.#at = (this.#at + 1) % this.#items.length;
    return item;
  }
  #reset(): null {
    this.#at = 0;
    return null;
  }
}

class Joiner extends Callable {
  override readonly type = "Joiner";
  constructor(separator: unknown) {
    let used = false;
    super("joiner", () => {
      if (used) return separator;
      used = true;
      return "";
    });
  }
}

const namespace = (args: readonly unknown[], kwargs: Kwargs) => new Namespace(dictOf(args, kwargs));

/** What a template finds without being given it. `now` is what `strftime_now` shows. */
export function globalsAt(now: Date): Readonly<Record<string, unknown>> {
  return {
    range: new Callable("range", range),
    dict: new DictMaker(),
    namespace: new Callable("namespace", namespace),
    cycler: new Callable("cycler", (items) => new Cycler(items)),
    joiner: new Callable(
      "joiner",
      (args, kwargs) => new Joiner(bind("joiner", { parameters: { sep: ", " } }, args, kwargs)[0]),
    ),
    lipsum: new Callable("lipsum", () => {
      throw new Unsupported("lipsum(), which is random,");
    }),
    raise_exception: new Callable("raise_exception", (args, kwargs) => {
      const [message] = bind("raise_exception", { parameters: { message: required } }, args, kwargs);
      throw new Raised(str(message) || "the template raises an exception without a message");
    }),
    strftime_now: new Callable("strftime_now", (args, kwargs) => {
      const [format] = bind("strftime_now", { parameters: { format: required } }, args, kwargs);
      return strftime(now, asText(format));
    }),
  };
}

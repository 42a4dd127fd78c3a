import { equal } from "./operators.js";
import { Callable, type Kwargs, lengthOf, listOf, PyObject, Tuple, Undefined } from "./values.js";
import { TemplateError } from "./work.js";

const none = Symbol("no item");

/** The variable `loop` of a for loop. */
export class Loop extends Callable {
  override readonly type = "LoopContext";
  readonly #over: unknown;
  #iterator: Iterator<unknown>;
  #index0 = -1;
  #length: number | undefined;
  #after: unknown = none;
  #current: unknown = none;
  #before: unknown = none;
  #changed: readonly unknown[] | undefined;
  readonly #depth0: number;

  /** `recurse` renders the loop's body for other items; undefined when the loop is not recursive. */
  constructor(
    over: unknown,
    items: Iterable<unknown>,
    depth0: number,
    recurse: ((over: unknown, depth0: number) => string) | undefined,
  ) {
    super("loop", ([inner, ...more]: readonly unknown[], kwargs: Kwargs) => {
      if (!recurse) throw new TemplateError("The loop must have the 'recursive' marker to be called recursively.");
      const over = kwargs.get("iterable") ?? inner;
      if (over === undefined || more.length > 0) throw new TemplateError("loop() takes exactly one argument");
      return recurse(over, this.#depth0 + 1);
    });
    this.#over = over;
    this.#iterator = items[Symbol.iterator]();
    this.#depth0 = depth0;
  }

  /** Goes on to the next item; false when there is none. */
  advance(): boolean {
    const next = this.#peek();
    this.#after = none;
    if (next === none) return false;
    this.#index0++;
    this.#before = this.#current;
    this.#current = next;
    return true;
  }

  get item(): unknown {
    return this.#current;
  }

  #peek(): unknown {
    if (this.#after === none) {
      const next = this.#iterator.next();
      this.#after = next.done ? none : next.value;
    }
    return this.#after;
  }

  override length(): number {
    if (this.#length !== undefined) return this.#length;
    const sized = this.#over instanceof PyObject && !this.#over.length ? undefined : lengthOf(this.#over);
    if (sized !== undefined) return (this.#length = sized);
    const rest: unknown[] = [];
    for (let next = this.#iterator.next(); !next.done; next = this.#iterator.next()) rest.push(next.value);
    this.#iterator = listOf(rest)[Symbol.iterator]();
    return (this.#length = rest.length + this.#index0 + 1 + Number(this.#after !== none));
  }

  override print(): string {
    return `<LoopContext ${this.#index0 + 1}/${this.length()}>`;
  }

  override *iterate(): Iterable<unknown> {
    while (this.advance()) yield new Tuple([this.item, this]);
  }

  readonly #attributes: Readonly<Record<string, () => unknown>> = {
    index0: () => this.#index0,
    index: () => this.#index0 + 1,
    first: () => this.#index0 === 0,
    last: () => this.#peek() === none,
    length: () => this.length(),
    revindex: () => this.length() - this.#index0,
    revindex0: () => this.length() - this.#index0 - 1,
    depth: () => this.#depth0 + 1,
    depth0: () => this.#depth0,
    previtem: () => (this.#index0 === 0 ? new Undefined("there is no previous item") : this.#before),
    nextitem: () => (this.#peek() === none ? new Undefined("there is no next item") : this.#after),
    cycle: () => new Callable("cycle", (items) => this.#cycle(items)),
    changed: () => new Callable("changed", (values) => this.#hasChanged(values)),
  };

  override attribute(name: string): unknown {
    return Object.hasOwn(this.#attributes, name) ? this.#attributes[name]!() : undefined;
  }

  #cycle(items: readonly unknown[]): unknown {
    if (items.length === 0) throw new TemplateError("no items for cycling given");
    return items[this.#index0 % items.length];
  }

  #hasChanged(values: readonly unknown[]): boolean {
    const same = this.#changed !== undefined && equal(new Tuple(this.#changed), new Tuple(values));
    if (!same) this.#changed = values;
    return !same;
  }
}

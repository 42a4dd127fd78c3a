import type { Expression, Statement, StatementOf, Target } from "./nodes.js";
import { TemplateError } from "./work.js";

/*
 * Which variable a name means is decided before a template runs, by jinja2's rules: a frame (a loop's body, a macro, a
 * block that captures) has variables of its own for what it assigns, which begin with the value of the frame around it
 * where that knows the name, and names that no frame assigns are looked up in the context when their frame begins.
 */

/** The variables of one run of a function: the template itself, a macro, a recursive loop. */
export class FunctionScope {
  readonly parent: FunctionScope | undefined;
  readonly #slots = new Map<string, Slot>();
  constructor(parent?: FunctionScope) {
    this.parent = parent;
  }
  /** The variable of a name at a level; frames beside each other share theirs. */
  slot(level: number, name: string): Slot {
    const key = `${level} ${name}`;
    let slot = this.#slots.get(key);
    if (!slot) this.#slots.set(key, (slot = { scope: this, index: this.#slots.size }));
    return slot;
  }
}

export interface Slot {
  readonly scope: FunctionScope;
  readonly index: number;
}

/** What a variable holds when its frame begins. */
export type Load =
  | { readonly kind: "parameter" }
  | { readonly kind: "resolve"; readonly name: string }
  | { readonly kind: "alias"; readonly of: Slot }
  | { readonly kind: "undefined" };

const parameter: Load = { kind: "parameter" };

/** The names of one frame. */
export class Symbols {
  readonly level: number;
  readonly parent: Symbols | undefined;
  readonly scope: FunctionScope;
  refs = new Map<string, Slot>();
  loads = new Map<Slot, Load>();
  stores = new Set<string>();

  constructor(scope: FunctionScope, parent?: Symbols) {
    this.scope = scope;
    this.parent = parent;
    this.level = parent ? parent.level + 1 : 0;
  }

  #define(name: string, load: Load): Slot {
    const slot = this.scope.slot(this.level, name);
    this.refs.set(name, slot);
    this.loads.set(slot, load);
    return slot;
  }

  find(name: string): Slot | undefined {
    return this.refs.get(name) ?? this.parent?.find(name);
  }

  /** The variable of a name that was seen. */
  ref(name: string): Slot {
    const slot = this.find(name);
    if (!slot) throw new TemplateError(`the name '${name}' is not known where it is used`);
    return slot;
  }

  copy(): Symbols {
    const copy = new Symbols(this.scope, this.parent);
    copy.refs = new Map(this.refs);
    copy.loads = new Map(this.loads);
    copy.stores = new Set(this.stores);
    return copy;
  }

  declare(name: string): Slot {
    this.stores.add(name);
    return this.#define(name, parameter);
  }

  store(name: string): void {
    this.stores.add(name);
    if (this.refs.has(name)) return;
    const outer = this.parent?.find(name);
    this.#define(name, outer ? { kind: "alias", of: outer } : { kind: "undefined" });
  }

  load(name: string): void {
    if (!this.find(name)) this.#define(name, { kind: "resolve", name });
  }

  /** What is assigned in some branches begins with the value it had before them. */
  join(branches: readonly Symbols[]): void {
    const stored = new Set(branches.flatMap((branch) => [...branch.stores]).filter((name) => !this.stores.has(name)));
    for (const branch of branches) {
      for (const [name, slot] of branch.refs) this.refs.set(name, slot);
      for (const [slot, load] of branch.loads) this.loads.set(slot, load);
      for (const name of branch.stores) this.stores.add(name);
    }
    for (const name of stored) {
      const outer = this.parent?.find(name);
      this.loads.set(this.ref(name), outer ? { kind: "alias", of: outer } : { kind: "resolve", name });
    }
  }

  /** Every name of an expression is read. */
  expression(expression: Expression | undefined): void {
    if (expression) eachName(expression, (name) => this.load(name));
  }

  target(target: Target, parameters = false): void {
    if (target.kind === "tuple") for (const item of target.items) this.target(item, parameters);
    else if (target.kind === "member") this.load(target.name);
    else if (parameters) this.declare(target.name);
    else this.store(target.name);
  }

  statements(statements: readonly Statement[]): void {
    for (const statement of statements) this.#statement(statement);
  }

  /** The names that a statement uses in its own frame; what is inside its body is for the body's frame. */
  #statement(statement: Statement): void {
    switch (statement.kind) {
      case "output":
        for (const item of statement.items) if (typeof item !== "string") this.expression(item);
        return;
      case "for":
        return this.expression(statement.over);
      case "if":
        return this.#if(statement.branches, statement.otherwise);
      case "set":
        this.expression(statement.value);
        return this.target(statement.target);
      case "setBlock":
        return this.target(statement.target);
      case "with":
        return statement.values.forEach((value) => void this.expression(value));
      case "macro":
        return this.store(statement.name);
      case "callBlock":
        return this.expression(statement.call);
      case "filterBlock":
        return this.expression(statement.filter);
    }
  }

  #if([first, ...more]: StatementOf<"if">["branches"], otherwise: readonly Statement[]): void {
    this.expression(first!.test);
    const branch = (read: (symbols: Symbols) => void) => {
      const copy = this.copy();
      read(copy);
      return copy;
    };
    this.join([
      branch((symbols) => symbols.statements(first!.body)),
      branch((symbols) => {
        for (const next of more) symbols.#if([next], []);
      }),
      branch((symbols) => symbols.statements(otherwise)),
    ]);
  }
}

/** Calls back with every name that is read, in jinja2's order. */
export function eachName(expression: Expression, found: (name: string) => void): void {
  if (expression.kind === "name") found(expression.name);
  else for (const part of partsOf(expression)) eachName(part, found);
}

function partsOf(expression: Expression): readonly Expression[] {
  const some = (...parts: readonly (Expression | undefined)[]) => parts.filter((part) => part !== undefined);
  switch (expression.kind) {
    case "tuple":
    case "list":
    case "concat":
      return expression.items;
    case "dict":
      return expression.pairs.flat();
    case "condition":
      return some(expression.test, expression.then, expression.otherwise);
    case "and":
    case "or":
    case "binary":
      return [expression.left, expression.right];
    case "not":
    case "negative":
    case "positive":
    case "attribute":
      return [expression.of];
    case "compare":
      return [expression.first, ...expression.rest.map(({ value }) => value)];
    case "item":
      return [expression.of, expression.key];
    case "slice":
      return some(expression.of, ...expression.bounds);
    case "call":
    case "filter":
    case "test": {
      const subject = expression.kind === "call" ? expression.callee : expression.of;
      const kwargs = expression.kwargs.map(({ value }) => value);
      return some(subject, ...expression.args, ...kwargs, expression.star, expression.starStar);
    }
    default:
      return [];
  }
}

type NameUse = (name: string, stored: boolean) => void;

/** Calls back with every name in statements and everything inside them, in jinja2's order. */
export function eachUse(statements: readonly Statement[], use: NameUse): void {
  const read = (expression: Expression | undefined) => {
    if (expression) eachName(expression, (name) => use(name, false));
  };
  const target = (to: Target): void => {
    if (to.kind === "tuple") to.items.forEach(target);
    else if (to.kind === "name") use(to.name, true);
  };
  const all = (body: readonly Statement[]): void => body.forEach(one);
  const one = (statement: Statement): void => {
    switch (statement.kind) {
      case "output":
        return statement.items.forEach((item) => void (typeof item !== "string" && read(item)));
      case "for":
        target(statement.target);
        read(statement.over);
        all(statement.body);
        all(statement.otherwise);
        return read(statement.test);
      case "if":
        for (const branch of statement.branches) {
          read(branch.test);
          all(branch.body);
        }
        return all(statement.otherwise);
      case "set":
        target(statement.target);
        return read(statement.value);
      case "setBlock":
        target(statement.target);
        read(statement.filter);
        return all(statement.body);
      case "with":
        statement.targets.forEach(target);
        statement.values.forEach(read);
        return all(statement.body);
      case "macro":
      case "callBlock":
        if (statement.kind === "callBlock") read(statement.call);
        for (const name of statement.parameters) use(name, true);
        statement.defaults.forEach(read);
        return all(statement.body);
      case "filterBlock":
        all(statement.body);
        return read(statement.filter);
      case "generation":
        return all(statement.body);
    }
  };
  all(statements);
}

/** Which of the names are read in statements before they are assigned there. */
export function undeclared(statements: readonly Statement[], names: readonly string[]): ReadonlySet<string> {
  const open = new Set(names);
  const found = new Set<string>();
  eachUse(statements, (name, stored) => {
    if (stored) open.delete(name);
    else if (open.has(name)) found.add(name);
  });
  return found;
}

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
    if (statement.kind === "output") {
      for (const item of statement.items) if (typeof item !== "string") this.expression(item);
    } else if (statement.kind === "for") this.expression(statement.over);
    else if (statement.kind === "if") this.#if(statement.branches, statement.otherwise);
    else if (statement.kind === "setBlock") this.target(statement.target);
    else if (statement.kind === "macro") this.store(statement.name);
    else if (statement.kind === "callBlock") this.expression(statement.call);
    else if (statement.kind === "filterBlock") this.expression(statement.filter);
    else if (statement.kind === "with") for (const value of statement.values) this.expression(value);
    else if (statement.kind === "set") {
      this.expression(statement.value);
      this.target(statement.target);
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
function eachName(expression: Expression, found: (name: string) => void): void {
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
      return some(expression.test, expression.yes, expression.no);
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

/** A piece of a statement: names it assigns, an expression it reads, or statements inside it. */
type Piece =
  | { readonly assigned: readonly string[] }
  | { readonly read: Expression | undefined }
  | { readonly body: readonly Statement[] };

const namesOf = (target: Target): string[] =>
  target.kind === "tuple" ? target.items.flatMap(namesOf) : target.kind === "name" ? [target.name] : [];

/** The pieces of a statement in jinja2's order. */
function piecesOf(statement: Statement): readonly Piece[] {
  const assigned = (...targets: readonly Target[]): Piece => ({ assigned: targets.flatMap(namesOf) });
  const reads = (expressions: readonly Expression[]): Piece[] => expressions.map((read) => ({ read }));
  switch (statement.kind) {
    case "output":
      return reads(statement.items.filter((item) => typeof item !== "string"));
    case "for": {
      const { target, over, body, otherwise, test } = statement;
      return [assigned(target), { read: over }, { body }, { body: otherwise }, { read: test }];
    }
    case "if":
      return [
        ...statement.branches.flatMap(({ test, body }) => [{ read: test }, { body }]),
        { body: statement.otherwise },
      ];
    case "set":
      return [assigned(statement.target), { read: statement.value }];
    case "setBlock":
      return [assigned(statement.target), { read: statement.filter }, { body: statement.body }];
    case "with":
      return [assigned(...statement.targets), ...reads(statement.values), { body: statement.body }];
    case "macro":
      return [{ assigned: statement.parameters }, ...reads(statement.defaults), { body: statement.body }];
    case "callBlock":
      return [
        { read: statement.call },
        { assigned: statement.parameters },
        ...reads(statement.defaults),
        { body: statement.body },
      ];
    case "filterBlock":
      return [{ body: statement.body }, { read: statement.filter }];
    case "generation":
      return [{ body: statement.body }];
    default:
      return [];
  }
}

/** Calls back with every name in statements and everything inside them, in jinja2's order. */
export function eachUse(statements: readonly Statement[], use: (name: string, stored: boolean) => void): void {
  for (const piece of statements.flatMap(piecesOf)) {
    if ("assigned" in piece) for (const name of piece.assigned) use(name, true);
    else if ("body" in piece) eachUse(piece.body, use);
    else if (piece.read) eachName(piece.read, (name) => use(name, false));
  }
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

import { fail } from "./lexer.js";
import type { Arguments, CallExpression, Expression } from "./nodes.js";
import type { Comparison, Operator } from "./operators.js";
import { describe, TokenReader } from "./token-reader.js";
import { Unsupported } from "./work.js";

/** Most links of one chain: `a + b + c`, `a.b.c`. */
const longestChain = 500;

const comparisons = new Set(["==", "!=", "<", "<=", ">", ">="]);

const words: Readonly<Record<string, unknown>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
};

/** How a tuple without brackets is read. */
export interface TupleOptions {
  /** May its items be inline ifs? Default true. */
  readonly condition?: boolean;
  /** Names that end it beside the end of the tag. */
  readonly ends?: readonly string[];
  /** Is it in brackets, so that nothing is a tuple too? Default false. */
  readonly brackets?: boolean;
}

/** Parses expressions by jinja2's grammar. */
export class ExpressionParser extends TokenReader {
  isTupleEnd(ends: readonly string[]): boolean {
    const { type, value } = this.token;
    if (type === "variableEnd" || type === "blockEnd") return true;
    return this.isOperator(")") || (type === "name" && ends.includes(value as string));
  }

  tuple({ condition = true, ends = [], brackets = false }: TupleOptions = {}): Expression {
    const { line } = this;
    const items: Expression[] = [];
    let tuple = false;
    while (!this.isTupleEnd(ends)) {
      items.push(condition ? this.expression() : this.#or());
      if (!this.skipOperator(",")) break;
      tuple = true;
    }
    if (!tuple && items.length > 0) return items[0]!;
    if (!tuple && !brackets) fail(`Expected an expression, got '${describe(this.token)}'`, line);
    return { kind: "tuple", items, line };
  }

  expression(): Expression {
    return this.nested(() => this.#condition());
  }

  #condition(): Expression {
    const { line } = this;
    let value = this.#or();
    for (let links = 0; this.skipName("if"); links++) {
      this.#link(links);
      const test = this.#or();
      const no = this.skipName("else") ? this.nested(() => this.#condition()) : undefined;
      value = { kind: "condition", test, yes: value, no, line };
    }
    return value;
  }

  #link(links: number): void {
    if (links > longestChain) fail(`it chains more than ${longestChain} expressions`, this.line);
  }

  #or(): Expression {
    const { line } = this;
    let left = this.#and();
    for (let links = 0; this.skipName("or"); links++) {
      this.#link(links);
      left = { kind: "or", left, right: this.#and(), line };
    }
    return left;
  }

  #and(): Expression {
    const { line } = this;
    let left = this.#not();
    for (let links = 0; this.skipName("and"); links++) {
      this.#link(links);
      left = { kind: "and", left, right: this.#not(), line };
    }
    return left;
  }

  #not(): Expression {
    const { line } = this;
    if (!this.skipName("not")) return this.#compare();
    return { kind: "not", of: this.nested(() => this.#not()), line };
  }

  #compare(): Expression {
    const { line } = this;
    const first = this.#sum();
    const rest: { operator: Comparison; value: Expression }[] = [];
    for (;;) {
      const operator = this.#comparison();
      if (!operator) break;
      rest.push({ operator, value: this.#sum() });
    }
    return rest.length === 0 ? first : { kind: "compare", first, rest, line };
  }

  #comparison(): Comparison | undefined {
    const { type, value } = this.token;
    if (type === "operator" && comparisons.has(value as string)) return this.next().value as Comparison;
    if (this.skipName("in")) return "in";
    const next = this.look();
    if (!this.isName("not") || next.type !== "name" || next.value !== "in") return undefined;
    this.next();
    this.next();
    return "not in";
  }

  /** A chain of binary operators of one rank, from left to right. */
  #chain(operators: readonly Operator[], operand: () => Expression): Expression {
    const { line } = this;
    let left = operand();
    for (let links = 0; this.token.type === "operator"; links++) {
      const operator = operators.find((candidate) => this.isOperator(candidate));
      if (!operator) break;
      this.#link(links);
      this.next();
      left = { kind: "binary", operator, left, right: operand(), line };
    }
    return left;
  }

  readonly #sum = () => this.#chain(["+", "-"], this.#concat);
  readonly #concat = (): Expression => {
    const { line } = this;
    const items = [this.#product()];
    while (this.skipOperator("~")) items.push(this.#product());
    return items.length === 1 ? items[0]! : { kind: "concat", items, line };
  };
  readonly #product = () => this.#chain(["*", "/", "//", "%"], this.#power);
  readonly #power = () => this.#chain(["**"], () => this.#unary(true));

  #unary(withFilters: boolean): Expression {
    const { line } = this;
    const minus = this.skipOperator("-");
    const value: Expression =
      minus || this.skipOperator("+")
        ? { kind: minus ? "negative" : "positive", of: this.nested(() => this.#unary(false)), line }
        : this.#primary();
    const postfixed = this.#postfix(value);
    return withFilters ? this.#filtersAndTests(postfixed) : postfixed;
  }

  #primary(): Expression {
    const { line } = this;
    const { type, value } = this.token;
    if (type === "name") {
      this.next();
      const name = value as string;
      return Object.hasOwn(words, name) ? { kind: "constant", value: words[name], line } : { kind: "name", name, line };
    }
    if (type === "string") return this.#strings(line);
    if (type === "integer" || type === "float") return { kind: "constant", value: this.next().value, line };
    if (this.isOperator("[")) return this.#list(line);
    if (this.isOperator("{")) return this.#dict(line);
    if (!this.skipOperator("(")) fail(`unexpected '${describe(this.token)}'`, line);
    const inside = this.nested(() => this.tuple({ brackets: true }));
    this.expectOperator(")");
    return inside;
  }

  /** Strings beside each other are one. */
  #strings(line: number): Expression {
    const parts: unknown[] = [];
    while (this.token.type === "string") parts.push(this.next().value);
    return { kind: "constant", value: parts.join(""), line };
  }

  #list(line: number): Expression {
    this.next();
    const items: Expression[] = [];
    while (!this.isOperator("]")) {
      if (items.length > 0) this.expectOperator(",");
      if (this.isOperator("]")) break;
      items.push(this.expression());
    }
    this.next();
    return { kind: "list", items, line };
  }

  #dict(line: number): Expression {
    this.next();
    const pairs: (readonly [Expression, Expression])[] = [];
    while (!this.isOperator("}")) {
      if (pairs.length > 0) this.expectOperator(",");
      if (this.isOperator("}")) break;
      const key = this.expression();
      this.expectOperator(":");
      pairs.push([key, this.expression()]);
    }
    this.next();
    return { kind: "dict", pairs, line };
  }

  #postfix(start: Expression): Expression {
    let value = start;
    for (let links = 0; ; links++) {
      this.#link(links);
      if (this.isOperator(".") || this.isOperator("[")) value = this.#subscript(value);
      else if (this.isOperator("(")) value = this.#call(value);
      else return value;
    }
  }

  #filtersAndTests(start: Expression): Expression {
    let value = start;
    for (let links = 0; ; links++) {
      this.#link(links);
      if (this.isOperator("|")) value = this.filters(value, false)!;
      else if (this.isName("is")) value = this.#test(value);
      else if (this.isOperator("(")) value = this.#call(value);
      else return value;
    }
  }

  #subscript(of: Expression): Expression {
    const { line } = this;
    if (this.next().value === ".") {
      const { type, value } = this.next();
      if (type === "name") return { kind: "attribute", of, name: value as string, line };
      if (type !== "integer") fail("expected name or number", line);
      return { kind: "item", of, key: { kind: "constant", value, line }, line };
    }
    const keys: Expression[] = [];
    while (!this.isOperator("]")) {
      if (keys.length > 0) this.expectOperator(",");
      const sliced = this.#sliceOrKey(of);
      if (sliced.kind === "slice" && sliced.of === of) {
        if (keys.length > 0 || !this.isOperator("]")) throw new Unsupported("a slice among several subscripts");
        this.next();
        return sliced;
      }
      keys.push(sliced);
    }
    this.next();
    const key: Expression = keys.length === 1 ? keys[0]! : { kind: "tuple", items: keys, line };
    return { kind: "item", of, key, line };
  }

  #sliceOrKey(of: Expression): Expression {
    const { line } = this;
    const start = this.isOperator(":") ? undefined : this.expression();
    if (!this.skipOperator(":")) return start!;
    const bound = () =>
      this.isOperator(":") || this.isOperator("]") || this.isOperator(",") ? undefined : this.expression();
    const stop = bound();
    const step = this.skipOperator(":") ? bound() : undefined;
    return { kind: "slice", of, bounds: [start, stop, step], line };
  }

  #arguments(): Arguments {
    const { line } = this;
    this.expectOperator("(");
    const args: Expression[] = [];
    const kwargs: { name: string; value: Expression }[] = [];
    let star: Expression | undefined;
    let starStar: Expression | undefined;
    const check = (right: boolean) => {
      if (!right) fail("invalid syntax for function call expression", line);
    };
    for (let first = true; !this.isOperator(")"); first = false) {
      if (!first) {
        this.expectOperator(",");
        if (this.isOperator(")")) break;
      }
      if (this.skipOperator("*")) {
        check(star === undefined && starStar === undefined);
        star = this.expression();
      } else if (this.skipOperator("**")) {
        check(starStar === undefined);
        starStar = this.expression();
      } else if (this.token.type === "name" && this.look().type === "operator" && this.look().value === "=") {
        check(starStar === undefined);
        const name = this.next().value as string;
        check(!kwargs.some((other) => other.name === name));
        this.next();
        kwargs.push({ name, value: this.expression() });
      } else {
        check(star === undefined && starStar === undefined && kwargs.length === 0);
        args.push(this.expression());
      }
    }
    this.next();
    return { args, kwargs, ...(star ? { star } : {}), ...(starStar ? { starStar } : {}) };
  }

  #call(callee: Expression): CallExpression {
    const { line } = this;
    return { kind: "call", callee, ...this.#arguments(), line };
  }

  /** Filters one after another; `begins` when the first comes without a bar, as in a filter block. */
  filters(start: Expression | undefined, begins: boolean): Expression | undefined {
    let value = start;
    for (let links = 0; (begins && links === 0) || this.isOperator("|"); links++) {
      this.#link(links);
      if (this.isOperator("|")) this.next();
      const { line } = this;
      const name = this.#dottedName();
      const given = this.isOperator("(") ? this.#arguments() : { args: [], kwargs: [] };
      value = { kind: "filter", name, of: value, ...given, line };
    }
    return value;
  }

  #dottedName(): string {
    let name = this.name();
    while (this.skipOperator(".")) name += `.${this.name()}`;
    return name;
  }

  #test(of: Expression): Expression {
    const { line } = this.next();
    const negated = this.skipName("not");
    const name = this.#dottedName();
    const test: Expression = { kind: "test", name, of, ...this.#testArguments(), line };
    return negated ? { kind: "not", of: test, line } : test;
  }

  /** In brackets, or one value without any. */
  #testArguments(): Arguments {
    if (this.isOperator("(")) return this.#arguments();
    const { type, value } = this.token;
    const begins =
      ["name", "string", "integer", "float"].includes(type) || this.isOperator("[") || this.isOperator("{");
    if (!begins || (type === "name" && ["else", "or", "and"].includes(value as string)))
      return { args: [], kwargs: [] };
    if (this.isName("is")) fail("You cannot chain multiple tests with is", this.line);
    return { args: [this.nested(() => this.#postfix(this.#primary()))], kwargs: [] };
  }
}

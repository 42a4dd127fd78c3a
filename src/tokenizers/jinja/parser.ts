import { fail, tokenize } from "./lexer.js";
import type { FilterExpression, Signature, Statement, StatementOf, Target } from "./nodes.js";
import { ExpressionParser } from "./parser-expressions.js";
import { Unsupported } from "./work.js";

/** Parses a template. Throws TemplateError with the line. */
export function parse(template: string): readonly Statement[] {
  return new Parser(tokenize(template)).template();
}

/** Statements that belong to many templates at once, or to output that is escaped. */
const refused = new Set(["block", "extends", "include", "from", "import", "autoescape"]);

class Parser extends ExpressionParser {
  /** The statements that are open, the innermost last. */
  readonly #open: string[] = [];

  template(): readonly Statement[] {
    return this.#statements([]);
  }

  /** Statements up to an end tag, which is then the current token; without any, up to the template's end. */
  #statements(ends: readonly string[]): Statement[] {
    const body: Statement[] = [];
    let items: (string | StatementOf<"output">["items"][number])[] = [];
    let outputLine = this.line;
    const flush = () => {
      if (items.length > 0) body.push({ kind: "output", items, line: outputLine });
      items = [];
    };
    while (this.token.type !== "end") {
      if (items.length === 0) outputLine = this.line;
      if (this.token.type === "data") items.push(this.next().value as string);
      else if (this.token.type === "variableBegin") {
        this.next();
        items.push(this.tuple());
        this.expect("variableEnd", "end of print statement");
      } else {
        flush();
        this.next();
        if (this.token.type === "name" && ends.includes(this.token.value as string)) return body;
        body.push(this.nested(() => this.#statement()));
        this.expect("blockEnd", "end of statement block");
      }
    }
    flush();
    if (ends.length > 0) {
      const wanted = ends.map((end) => `'${end}'`).join(" or ");
      fail(`Unexpected end of template, expected ${wanted}: '${this.#open.at(-1)}' is still open`, this.line);
    }
    return body;
  }

  /** The body of a statement. With one end tag, that tag is taken too. */
  #body(...ends: readonly string[]): Statement[] {
    this.skipOperator(":");
    this.expect("blockEnd", "end of statement block");
    const body = this.#statements(ends);
    if (ends.length === 1) this.next();
    return body;
  }

  #statement(): Statement {
    if (this.token.type !== "name") fail("tag name expected", this.line);
    const name = this.token.value as string;
    const { line } = this;
    if (refused.has(name)) {
      const error = new Unsupported(`the statement '${name}'`);
      error.line = line;
      throw error;
    }
    const read = Object.hasOwn(this.#readers, name) ? this.#readers[name]! : undefined;
    if (!read) fail(`Encountered unknown tag '${name}'.`, line);
    this.next();
    this.#open.push(name);
    const statement = read(line);
    this.#open.pop();
    return statement;
  }

  readonly #readers: Readonly<Record<string, (line: number) => Statement>> = {
    for: (line) => this.#for(line),
    if: (line) => this.#if(line),
    set: (line) => this.#set(line),
    with: (line) => this.#with(line),
    macro: (line) => ({ kind: "macro", name: this.name(), ...this.#signature(), body: this.#body("endmacro"), line }),
    call: (line) => this.#callBlock(line),
    filter: (line) => {
      const filter = this.filters(undefined, true) as FilterExpression;
      return { kind: "filterBlock", filter, body: this.#body("endfilter"), line };
    },
    print: (line) => ({ kind: "output", items: this.#printed(), line }),
    generation: (line) => ({ kind: "generation", body: this.#body("endgeneration"), line }),
    break: (line) => ({ kind: "break", line }),
    continue: (line) => ({ kind: "continue", line }),
  };

  #for(line: number): Statement {
    const target = this.#target("in");
    this.expectName("in");
    const over = this.tuple({ condition: false, ends: ["recursive"] });
    const test = this.skipName("if") ? this.expression() : undefined;
    const recursive = this.skipName("recursive");
    const body = this.#body("endfor", "else");
    const otherwise = this.next().value === "else" ? this.#body("endfor") : [];
    return { kind: "for", target, over, body, otherwise, test, recursive, line };
  }

  #if(line: number): Statement {
    const branches: StatementOf<"if">["branches"][number][] = [];
    for (;;) {
      const test = this.tuple({ condition: false });
      branches.push({ test, body: this.#body("elif", "else", "endif") });
      const end = this.next().value;
      if (end === "elif") continue;
      return { kind: "if", branches, otherwise: end === "else" ? this.#body("endif") : [], line };
    }
  }

  #set(line: number): Statement {
    const target = this.#target(undefined, true);
    if (this.skipOperator("=")) return { kind: "set", target, value: this.tuple(), line };
    const filter = this.filters(undefined, false) as FilterExpression | undefined;
    return { kind: "setBlock", target, filter, body: this.#body("endset"), line };
  }

  #with(line: number): Statement {
    const targets: Target[] = [];
    const values: StatementOf<"with">["values"][number][] = [];
    while (this.token.type !== "blockEnd") {
      if (targets.length > 0) this.expectOperator(",");
      targets.push(this.#target());
      this.expectOperator("=");
      values.push(this.expression());
    }
    return { kind: "with", targets, values, body: this.#body("endwith"), line };
  }

  #callBlock(line: number): Statement {
    const signature = this.isOperator("(") ? this.#signature() : { parameters: [], defaults: [] };
    const call = this.expression();
    if (call.kind !== "call") fail("expected call", line);
    return { kind: "callBlock", call, ...signature, body: this.#body("endcall"), line };
  }

  #printed(): StatementOf<"output">["items"] {
    const items = [];
    while (this.token.type !== "blockEnd") {
      if (items.length > 0) this.expectOperator(",");
      items.push(this.expression());
    }
    return items;
  }

  #signature(): Signature {
    const parameters: string[] = [];
    const defaults = [];
    this.expectOperator("(");
    while (!this.isOperator(")")) {
      if (parameters.length > 0) this.expectOperator(",");
      const { line } = this;
      const name = this.#assignable(this.name(), line);
      if (parameters.includes(name)) fail(`duplicate argument '${name}' in function definition`, line);
      parameters.push(name);
      if (this.skipOperator("=")) defaults.push(this.expression());
      else if (defaults.length > 0) fail("non-default argument follows default argument", line);
    }
    this.next();
    return { parameters, defaults };
  }

  #assignable(name: string, line: number): string {
    if (/^([tT]rue|[fF]alse|[nN]one)$/.test(name)) fail(`can't assign to '${name}'`, line);
    return name;
  }

  /** What is assigned to: a name, a member of a namespace where `members` may be, or several of them. */
  #target(end?: string, members = false): Target {
    const { line } = this;
    const items: Target[] = [];
    let tuple = false;
    for (;;) {
      if (this.isTupleEnd(end === undefined ? [] : [end])) break;
      items.push(this.#oneTarget(members));
      if (!this.skipOperator(",")) break;
      tuple = true;
    }
    if (tuple) return { kind: "tuple", items, line };
    if (items.length === 0) fail("Expected something to assign to", line);
    return items[0]!;
  }

  #oneTarget(members: boolean): Target {
    const { line } = this;
    if (this.skipOperator("(")) {
      const target = this.nested(() => this.#target(undefined, false));
      this.expectOperator(")");
      return target;
    }
    if (this.token.type !== "name") fail("can't assign to that", line);
    const name = this.#assignable(this.next().value as string, line);
    if (members && this.skipOperator(".")) return { kind: "member", name, attribute: this.name(), line };
    return { kind: "name", name, line };
  }
}

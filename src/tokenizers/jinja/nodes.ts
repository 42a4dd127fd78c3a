import type { Comparison, Operator } from "./operators.js";

/** Names and expressions that a value is given to. */
export type Target =
  | { readonly kind: "name"; readonly name: string; readonly line: number }
  | { readonly kind: "member"; readonly name: string; readonly attribute: string; readonly line: number }
  | { readonly kind: "tuple"; readonly items: readonly Target[]; readonly line: number };

/** Arguments of a call, a filter or a test. */
export interface Arguments {
  readonly args: readonly Expression[];
  readonly kwargs: readonly { readonly name: string; readonly value: Expression }[];
  readonly star?: Expression;
  readonly starStar?: Expression;
}

export type Expression = { readonly line: number } & (
  | { readonly kind: "constant"; readonly value: unknown }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "tuple" | "list" | "concat"; readonly items: readonly Expression[] }
  | { readonly kind: "dict"; readonly pairs: readonly (readonly [Expression, Expression])[] }
  | {
      readonly kind: "condition";
      readonly test: Expression;
      readonly yes: Expression;
      readonly no: Expression | undefined;
    }
  | { readonly kind: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "not" | "negative" | "positive"; readonly of: Expression }
  | { readonly kind: "binary"; readonly operator: Operator; readonly left: Expression; readonly right: Expression }
  | {
      readonly kind: "compare";
      readonly first: Expression;
      readonly rest: readonly { readonly operator: Comparison; readonly value: Expression }[];
    }
  | { readonly kind: "attribute"; readonly of: Expression; readonly name: string }
  | { readonly kind: "item"; readonly of: Expression; readonly key: Expression }
  | { readonly kind: "slice"; readonly of: Expression; readonly bounds: readonly (Expression | undefined)[] }
  | ({ readonly kind: "call"; readonly callee: Expression } & Arguments)
  | ({ readonly kind: "filter"; readonly name: string; readonly of: Expression | undefined } & Arguments)
  | ({ readonly kind: "test"; readonly name: string; readonly of: Expression } & Arguments)
);

export type FilterExpression = Extract<Expression, { kind: "filter" }>;
export type CallExpression = Extract<Expression, { kind: "call" }>;

export interface Signature {
  readonly parameters: readonly string[];
  /** Of the last parameters. */
  readonly defaults: readonly Expression[];
}

export type Statement = { readonly line: number } & (
  | { readonly kind: "output"; readonly items: readonly (string | Expression)[] }
  | {
      readonly kind: "for";
      readonly target: Target;
      readonly over: Expression;
      readonly body: readonly Statement[];
      readonly otherwise: readonly Statement[];
      readonly test: Expression | undefined;
      readonly recursive: boolean;
    }
  | {
      readonly kind: "if";
      readonly branches: readonly { readonly test: Expression; readonly body: readonly Statement[] }[];
      readonly otherwise: readonly Statement[];
    }
  | { readonly kind: "set"; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: "setBlock";
      readonly target: Target;
      readonly filter: FilterExpression | undefined;
      readonly body: readonly Statement[];
    }
  | {
      readonly kind: "with";
      readonly targets: readonly Target[];
      readonly values: readonly Expression[];
      readonly body: readonly Statement[];
    }
  | ({ readonly kind: "macro"; readonly name: string; readonly body: readonly Statement[] } & Signature)
  | ({ readonly kind: "callBlock"; readonly call: CallExpression; readonly body: readonly Statement[] } & Signature)
  | { readonly kind: "filterBlock"; readonly filter: FilterExpression; readonly body: readonly Statement[] }
  | { readonly kind: "generation"; readonly body: readonly Statement[] }
  | { readonly kind: "break" | "continue" }
);

export type StatementOf<K extends Statement["kind"]> = Extract<Statement, { kind: K }>;

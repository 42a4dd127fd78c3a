/** Which tools an answer may call, and whether it has to. */
export interface ToolCalling {
  readonly tools: readonly CallableTool[];
  /** `auto`: words or calls, as the model likes; `required`: calls; `name`: one call of that tool; `none`: words. */
  readonly choice: "none" | "auto" | "required" | { readonly name: string };
  /** Several calls in one answer, where the model's format has a place for them. */
  readonly parallel: boolean;
}

export interface CallableTool {
  readonly name: string;
  /** JSON Schema of the arguments, an object; undefined: there are none. */
  readonly parameters: Readonly<Record<string, unknown>> | undefined;
  /** With `auto` too the arguments fit the schema; otherwise they are any JSON object there. */
  readonly strict: boolean;
}

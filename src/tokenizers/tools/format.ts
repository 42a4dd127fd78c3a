/** How a family of models writes calls of tools. Training rows, requests and answers go by the same entry. */
export interface ToolFormat {
  readonly name: string;
  /** Does a chat template write calls so, or tell the model to? */
  tells(template: string): boolean;
  /** Texts that begin calls, as tokens of their own where the tokenizer has them; the first is the one that is written. */
  readonly opens: readonly string[];
  /** Texts that end calls. */
  readonly closes: readonly string[];
  /** An answer that begins so is a call too, without anything before it. */
  readonly bare?: string;
  /** How calls are written. */
  readonly layout: CallLayout;
  /** What ids of calls have to look like. Default: any text. */
  readonly ids?: "nine letters and digits";
}

/** A list of calls as text; white space in it is as the model was taught, and may be otherwise in an answer. */
export interface CallLayout {
  readonly begin: string;
  /** Before the name, between name and arguments (a JSON object), and after them. */
  readonly call: readonly [beforeName: string, beforeArguments: string, after: string];
  /** Between two calls; undefined: there is one at a time. */
  readonly between?: string;
  readonly end: string;
}

import type { Action } from "../io.js";

export interface OptionEntry {
  /** As commander takes it: `--max-new-tokens <n>`. */
  readonly flags: string;
  readonly description: string;
  readonly required?: boolean;
  /** It may be given several times: the action gets a list. */
  readonly repeats?: true;
  /** Shown and used when the option is not given. */
  readonly fallback?: string;
}

/** Rows of words under a line of headings. */
export interface HelpTable {
  readonly title: string;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  /** What `--help` says beyond the summary. */
  readonly description?: string;
  /** Positional arguments as commander takes them: `<file>`, `[overrides...]`. */
  readonly args?: readonly (readonly [name: string, description: string])[];
  readonly options: readonly OptionEntry[];
  /** What help and docs show below the options, out of a registry that is loaded when it is asked for. */
  table?(): Promise<HelpTable>;
  readonly examples: readonly string[];
  /** Printing is all it does: it ends when nobody reads what it prints. */
  readonly onlyPrints?: true;
  /** Loads the verb's code when it is called, so that start-up stays fast. */
  load(): Promise<Action>;
}

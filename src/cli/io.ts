/** Where a command writes, so that tests can listen. */
export interface Io {
  /** Results: what a program would read. */
  out(text: string): void;
  /** Progress, notes and errors. */
  err(text: string): void;
  /** Whether `err` is a terminal that can redraw a line. */
  readonly interactive: boolean;
  readonly columns: number;
}

export function processIo(): Io {
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    interactive: process.stderr.isTTY === true && process.env.CI === undefined,
    columns: process.stderr.columns ?? 80,
  };
}

/** The value of a command's options: strings, true for flags, arrays for repeated ones. */
export type Options = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

/** What runs when a verb is called: positional arguments, options by camelCase name. Resolves to the exit code. */
export type Action = (args: readonly string[], options: Options, io: Io) => Promise<number>;

/** Exit codes of every verb. */
export const EXIT = { ok: 0, failed: 1, usage: 2, internal: 70, interrupted: 130 } as const;

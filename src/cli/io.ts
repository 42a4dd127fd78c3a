import { inFlags } from "./in-flags.js";
import { visible } from "./visible.js";

/** Where a command writes, so that tests can listen. */
export interface Io {
  /** Results: what a program would read. */
  out(text: string): void;
  /** Progress, notes and errors. */
  err(text: string): void;
  /** Whether `err` is a terminal that can redraw a line. */
  readonly interactive: boolean;
  /** Whether `out` is a terminal. Default false. */
  readonly terminal?: boolean;
  readonly columns: number;
  /** The same without control characters made visible: for what holds this program's own colours and cursor moves. */
  readonly raw?: Io;
  /** Calls back once when nobody reads `out` any longer. */
  onClosed?(action: () => void): void;
  /** Why something written to `out` was lost, though somebody would have read it: a full disk. */
  readonly lost?: () => string | undefined;
}

/** The process's own standard output and error. What nobody reads is dropped, and work goes on. */
export function processIo(): Io {
  const [out, err] = [sink(process.stdout), sink(process.stderr)];
  return {
    out: out.write,
    err: err.write,
    interactive: process.stderr.isTTY === true && process.env.CI === undefined,
    terminal: process.stdout.isTTY === true,
    get columns() {
      return process.stderr.columns || 80;
    },
    onClosed: out.onClosed,
    lost: out.lost,
  };
}

/** What a reader that is gone, or a terminal that was closed, gives. */
const GONE: ReadonlySet<string> = new Set(["EPIPE", "EIO", "ECONNRESET", "EBADF", "ERR_STREAM_DESTROYED"]);

/** A stream that may end at any moment. Without this, writing to a closed pipe ends the process. */
function sink(stream: NodeJS.WriteStream): Pick<Required<Io>, "onClosed" | "lost"> & { write(text: string): void } {
  let closed = false;
  let lost: string | undefined;
  const actions: (() => void)[] = [];
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (!GONE.has(error.code ?? "")) lost ??= error.message;
    if (closed) return;
    closed = true;
    for (const action of actions.splice(0)) action();
  });
  return {
    write: (text) => void (closed || stream.write(text)),
    onClosed: (action) => (closed ? action() : void actions.push(action)),
    lost: () => lost,
  };
}

/** The same with control characters made visible, whoever put them into a name or a message, and options said as flags. */
export function withVisibleText(io: Io): Io {
  return {
    out: (text) => io.out(visible(text)),
    err: (text) => io.err(visible(inFlags(text))),
    interactive: io.interactive,
    terminal: io.terminal ?? false,
    get columns() {
      return io.columns;
    },
    raw: io,
  };
}

/** Writes text that somebody keeps, such as a model's answer: as it is into a file or a pipe, visible on a terminal. */
export function exactOut(io: Io): (text: string) => void {
  return io.terminal ? io.out : (io.raw ?? io).out;
}

/** The value of a command's options: strings, true for flags, arrays for repeated ones. */
export type Options = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

/** What runs when a verb is called: positional arguments, options by camelCase name. Resolves to the exit code. */
export type Action = (args: readonly string[], options: Options, io: Io) => Promise<number>;

/** Exit codes of every verb. */
export const EXIT = { ok: 0, failed: 1, usage: 2, internal: 70, again: 75, interrupted: 130 } as const;

import { LAUNCHED_SIGNAL, launchedBy } from "./mpi/launcher.js";

/** The exit code of a program that SIGINT ended, as shells have it. */
const INTERRUPTED = 130;

/** A terminal that closes says so twice: from the system and from its shell. */
const HANG_UP = "SIGHUP";
const SIGNALS = ["SIGINT", "SIGTERM", HANG_UP] as const;

/** Signals that a process may get more than once for one wish: from the system, its shell, its launcher. */
const REPEATED: ReadonlySet<string> = new Set([HANG_UP, LAUNCHED_SIGNAL]);

/**
 * A signal that the first SIGINT, SIGTERM or SIGHUP aborts (of a launched rank SIGUSR2 too); a second SIGINT or SIGTERM ends the process at once. `onFirst`
 * says what happens meanwhile. Call `stop` when nothing is left to interrupt.
 */
export function interruptible(onFirst: () => void): { signal: AbortSignal; stop: () => void } {
  const control = new AbortController();
  const handle = (name: NodeJS.Signals) => {
    if (!control.signal.aborted) {
      control.abort();
      onFirst();
    } else if (!REPEATED.has(name)) process.exit(INTERRUPTED);
  };
  const names = launchedBy() ? [...SIGNALS, LAUNCHED_SIGNAL] : SIGNALS;
  for (const name of names) process.on(name, handle);
  return {
    signal: control.signal,
    stop() {
      for (const name of names) process.off(name, handle);
    },
  };
}

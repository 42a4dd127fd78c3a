/** The exit code of a program that SIGINT ended, as shells have it. */
const INTERRUPTED = 130;

/** A terminal that closes says so twice: from the system and from its shell. */
const HANG_UP = "SIGHUP";
const SIGNALS = ["SIGINT", "SIGTERM", HANG_UP] as const;

/**
 * A signal that the first SIGINT, SIGTERM or SIGHUP aborts; a second SIGINT or SIGTERM ends the process at once. `onFirst`
 * says what happens meanwhile. Call `stop` when nothing is left to interrupt.
 */
export function interruptible(onFirst: () => void): { signal: AbortSignal; stop: () => void } {
  const control = new AbortController();
  const handle = (name: NodeJS.Signals) => {
    if (!control.signal.aborted) {
      control.abort();
      onFirst();
    } else if (name !== HANG_UP) process.exit(INTERRUPTED);
  };
  for (const name of SIGNALS) process.on(name, handle);
  return {
    signal: control.signal,
    stop() {
      for (const name of SIGNALS) process.off(name, handle);
    },
  };
}

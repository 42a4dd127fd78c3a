/** The exit code of a program that SIGINT ended, as shells have it. */
const INTERRUPTED = 130;

/**
 * A signal that the first SIGINT or SIGTERM aborts; the second one ends the process at once. `onFirst` says what happens
 * meanwhile. Call `stop` when nothing is left to interrupt.
 */
export function interruptible(onFirst: () => void): { signal: AbortSignal; stop: () => void } {
  const control = new AbortController();
  const handle = () => {
    if (control.signal.aborted) process.exit(INTERRUPTED);
    control.abort();
    onFirst();
  };
  process.on("SIGINT", handle);
  process.on("SIGTERM", handle);
  return {
    signal: control.signal,
    stop() {
      process.off("SIGINT", handle);
      process.off("SIGTERM", handle);
    },
  };
}

/** Passes text on until a stop string begins. */
export interface StopWatch {
  /** The text that is certain to stand before any stop string; what may be the beginning of one is held back. */
  push(piece: string): string;
  /** What was held back, when no more text comes. */
  end(): string;
  /** Whether a stop string was met; nothing comes after it. */
  readonly stopped: boolean;
}

/** Watches streamed text for the first of `stops`, wherever the pieces are cut. */
export function untilStop(stops: readonly string[]): StopWatch {
  let held = "";
  let stopped = false;
  const release = (count: number) => {
    const text = held.slice(0, count);
    held = held.slice(count);
    return text;
  };
  return {
    push(piece) {
      if (stopped) return "";
      held += piece;
      const found = stops.map((stop) => held.indexOf(stop)).filter((at) => at >= 0);
      if (found.length === 0) return release(held.length - Math.max(0, ...stops.map((stop) => overlap(held, stop))));
      stopped = true;
      const text = release(Math.min(...found));
      held = "";
      return text;
    },
    end: () => release(held.length),
    get stopped() {
      return stopped;
    },
  };
}

/** The length of the longest end of `text` that is a beginning of `stop`. */
function overlap(text: string, stop: string): number {
  let length = Math.min(text.length, stop.length - 1);
  while (length > 0 && !text.endsWith(stop.slice(0, length))) length--;
  return length;
}

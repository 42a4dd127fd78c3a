import { ApiError } from "./errors.js";

/**
 * Who may generate: a fixed number at a time, the others in the order they came. Those who generate get their next tokens
 * together, in steps of one run.
 */
export interface Slots {
  /**
   * Waits for a slot; the result gives it back. Throws ApiError 429 when the queue is full, and the signal's reason when it
   * is aborted first.
   */
  acquire(signal: AbortSignal): Promise<() => void>;
  readonly active: number;
  readonly waiting: number;
}

export function createSlots({ slots, queue }: { readonly slots: number; readonly queue: number }): Slots {
  const waiting = new Set<() => void>();
  let active = 0;
  const slot = () => {
    active++;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      active--;
      const next = waiting.values().next().value;
      next?.();
    };
  };
  return {
    async acquire(signal) {
      signal.throwIfAborted();
      if (active < slots) return slot();
      if (waiting.size >= queue) {
        throw new ApiError(429, `${queue} requests are waiting already; try again later`, {
          code: "rate_limit_exceeded",
          headers: { "retry-after": "1" },
        });
      }
      return new Promise((resolve, reject) => {
        const leave = () => {
          waiting.delete(enter);
          signal.removeEventListener("abort", abandon);
        };
        const enter = () => {
          leave();
          resolve(slot());
        };
        const abandon = () => {
          leave();
          reject(signal.reason);
        };
        waiting.add(enter);
        signal.addEventListener("abort", abandon);
      });
    },
    get active() {
      return active;
    },
    get waiting() {
      return waiting.size;
    },
  };
}

/**
 * What several generators give, as it comes: one of them always runs, the next one beside those whenever `room` has a place for
 * it, which is given back when it ends. Leaving early, or an error in one, ends them all.
 */
export async function* sideBySide<T>(
  starts: readonly (() => AsyncGenerator<T, void>)[],
  room: () => Promise<() => void> | undefined,
): AsyncGenerator<T, void> {
  interface Running {
    readonly generator: AsyncGenerator<T, void>;
    readonly free: (() => void) | undefined;
    next: Promise<{ readonly who: Running; readonly result: IteratorResult<T, void> }>;
  }
  const waiting = [...starts];
  const running = new Set<Running>();
  const pull = (who: Running): Running => {
    who.next = who.generator.next().then((result) => ({ who, result }));
    who.next.catch(() => undefined); // whoever races is told
    return who;
  };
  const begin = (free: (() => void) | undefined) => {
    const next = new Promise<never>(() => undefined);
    running.add(pull({ generator: waiting.shift()!(), free, next }));
  };
  try {
    while (waiting.length > 0 || running.size > 0) {
      if (running.size === 0) begin(undefined);
      for (let place = waiting.length > 0 && room(); place; place = waiting.length > 0 && room()) begin(await place);
      const { who, result } = await Promise.race([...running].map(({ next }) => next));
      if (result.done) {
        running.delete(who);
        who.free?.();
      } else {
        pull(who);
        yield result.value;
      }
    }
  } finally {
    await Promise.allSettled([...running].map(({ generator }) => generator.return()));
    for (const { free } of running) free?.();
  }
}

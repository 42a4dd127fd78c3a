/**
 * Work that tells of itself while it goes on, as events: of several that nobody has taken yet, the last alone is given. The result, or
 * what the work throws, comes behind them.
 */
export async function* told<Event, Result>(
  work: (tell: (event: Event) => void) => Promise<Result>,
): AsyncGenerator<Event, Result> {
  let latest: Event | undefined;
  let wake: () => void = () => undefined;
  let over = false;
  const done = work((event) => {
    latest = event;
    wake();
  }).finally(() => {
    over = true;
    wake();
  });
  done.catch(() => undefined); // it is thrown below, when the events were taken
  while (!over) {
    await new Promise<void>((resolve) => {
      wake = resolve;
      if (latest !== undefined || over) resolve();
    });
    if (latest === undefined) continue;
    const event = latest;
    latest = undefined;
    yield event;
  }
  return done;
}

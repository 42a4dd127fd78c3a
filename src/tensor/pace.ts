export type Pace = () => Promise<void> | undefined;

/**
 * Lets others run: `await pace()` in a long loop gives the event loop a turn whenever `budgetMs` have passed since the
 * last one, so that nothing waits longer than the budget and one step of the loop.
 */
export function createPace(budgetMs = 8): Pace {
  let since = performance.now();
  return () => {
    if (performance.now() - since < budgetMs) return;
    return new Promise((resolve) =>
      setTimeout(() => {
        since = performance.now();
        resolve();
      }),
    );
  };
}

/** Lets what is given to it run one at a time, in the order it came. */
export type Turns = <T>(act: () => Promise<T>) => Promise<T>;

/** A line of its own; what fails holds up nothing behind it. */
export function createTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve();
  return (act) => {
    const mine = last.then(act);
    last = mine.catch(() => undefined);
    return mine;
  };
}

import { expect, test } from "vitest";
import { random } from "../tensor/index.js";
import { choices, GREEDY_TOKENS, greedyContinuation } from "./greedy-continuation.js";

/** A model whose next token depends on the whole text: on a hash of it, or with `lazy`, mostly on the last token alone. */
const model = (seed: number, lazy: boolean) => (text: readonly number[]) => {
  const key = lazy && text.length % 4 ? String(text.at(-1)) : text.join();
  return random(seed, key).below(50);
};

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  "it is what token after token would give, in fewer runs than tokens (%i)",
  async (seed) => {
    const next = model(seed, seed % 2 === 0);
    const prompt = [seed, 7, 7];
    const ends = new Set([seed + 3, seed + 11]);
    const expected: number[] = [];
    for (
      let id = next(prompt);
      !ends.has(id) && expected.length < GREEDY_TOKENS - 1;
      id = next([...prompt, ...expected])
    ) {
      expected.push(id);
    }
    let runs = 0;
    const found = await greedyContinuation(prompt.at(-1)!, ends, async (guess) => {
      runs++;
      return [[], ...guess].map((_, i) => next([...prompt, ...guess.slice(0, i)]));
    });
    expect(found).toEqual(expected);
    expect(runs).toBeLessThan(GREEDY_TOKENS);
  },
);

test("a text that ends at once has no continuation; one that repeats itself takes one run", async () => {
  let runs = 0;
  const always = (id: number) => async (guess: readonly number[]) => {
    runs++;
    return new Array<number>(guess.length + 1).fill(id);
  };
  expect(await greedyContinuation(2, new Set([5]), always(5))).toEqual([]);
  expect(await greedyContinuation(5, new Set(), always(5))).toEqual(new Array(GREEDY_TOKENS - 1).fill(5));
  expect(runs).toBe(2);
});

test("the choice is the first of the largest logits", () => {
  expect(choices(Float32Array.of(0, 3, 3, -1, -2, -3), 3)).toEqual([1, 0]);
});

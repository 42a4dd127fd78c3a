import { expect, it } from "vitest";
import { StepQueue } from "./step-queue.js";

/** A queue that notes who was in each step. */
function noted(fails = false) {
  const steps: string[] = [];
  const queue = new StepQueue<string, number, number>(async (asked) => {
    steps.push([...asked.keys()].join(""));
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (fails) throw new Error("the engine failed");
    return new Map([...asked].map(([who, n]) => [who, 10 * n]));
  });
  return { queue, steps };
}

it("whoever asks while a step is under way is in the next, together with those of the last", async () => {
  const { queue, steps } = noted();
  const text = async (who: string, count: number) => {
    for (let i = 0; i < count; i++) expect(await queue.ask(who, i)).toBe(10 * i);
    queue.leave(who);
  };
  await Promise.all([text("a", 4), text("b", 3), text("c", 2)]);
  expect(steps).toEqual(
    ["a", "abc", "abc", "ab"].map((step) => expect.stringMatching(new RegExp(`^[${step}]{${step.length}}$`))),
  );
});

it("one who reads slowly holds up nobody for long, and is taken again when back", async () => {
  const { queue, steps } = noted();
  const both = async (n: number) => Promise.all([queue.ask("a", n), queue.ask("b", n)]);
  await both(1);
  await queue.ask("a", 2); // b reads
  await queue.ask("a", 3);
  await both(4);
  expect(await both(5)).toEqual([50, 50]);
  expect(steps).toEqual(["a", "b", "a", "a", "a", "b", "ab"]);
});

it("what a step throws reaches all who were in it", async () => {
  const { queue } = noted(true);
  const asked = [queue.ask("a", 1), queue.ask("b", 1)];
  for (const answer of asked) await expect(answer).rejects.toThrow("the engine failed");
});

import { expect, it } from "vitest";
import { bubbleShare, inFlight, oneForwardOneBackward } from "./order.js";
import { splitBlocks } from "./split.js";
import { stagesOf } from "./stage.js";

const GRID = [1, 2, 3, 4].flatMap((stages) => [1, 2, 3, 5, 8].map((microBatches) => ({ stages, microBatches })));

it.each(GRID)("$stages stages, $microBatches micro-batches: each turn comes once, in order, and few are kept", (of) => {
  for (const stage of stagesOf(Array(of.stages).fill(1))) {
    const turns = [...oneForwardOneBackward(stage, of.microBatches)];
    const indices = (kind: string) => turns.filter((turn) => turn.kind === kind).map(({ index }) => index);
    const all = Array.from({ length: of.microBatches }, (_, i) => i);
    expect(indices("forward")).toEqual(all);
    expect(indices("backward")).toEqual(all);
    let [kept, most] = [0, 0];
    for (const { kind } of turns) most = Math.max(most, (kept += kind === "forward" ? 1 : -1));
    expect(most).toBe(inFlight(stage, of.microBatches));
  }
});

it.each(GRID)(
  "$stages stages, $microBatches micro-batches: they wait as long as is said",
  ({ stages, microBatches }) => {
    // A turn begins when the stage is free and its input is there, and takes one unit.
    const all = stagesOf(Array(stages).fill(1));
    const ends = new Map<string, number>();
    const key = (kind: string, stage: number, index: number) => `${kind} ${stage} ${index}`;
    const left = all.map((stage) => [...oneForwardOneBackward(stage, microBatches)]);
    const free = all.map(() => 0);
    while (left.some((turns) => turns.length > 0)) {
      let moved = false;
      for (const [s, turns] of left.entries()) {
        const turn = turns[0];
        if (!turn) continue;
        const from = turn.kind === "forward" ? s - 1 : s + 1;
        const outer = from < 0 || from >= stages;
        const ready = outer ? 0 : ends.get(key(turn.kind, from, turn.index));
        if (ready === undefined) continue;
        turns.shift();
        free[s] = Math.max(free[s]!, ready) + 1;
        ends.set(key(turn.kind, s, turn.index), free[s]!);
        moved = true;
      }
      expect(moved, "the stages wait for each other").toBe(true);
    }
    const time = Math.max(...free);
    expect(1 - (2 * microBatches) / time).toBeCloseTo(bubbleShare(stages, microBatches), 12);
  },
);

it("blocks are split so that the most expensive stage is as cheap as can be", () => {
  // The last stage has a head of two blocks' cost, and the first rank is half as fast.
  const costOf = (index: number, first: number, end: number) =>
    (end - first) * (index === 0 ? 2 : 1) + (index === 2 ? 2 : 0);
  const counts = splitBlocks(10, 3, costOf);
  const most = ([a, b, c]: readonly number[]) => Math.max(2 * a!, b!, c! + 2);
  const tried: number[] = [];
  for (let a = 1; a < 9; a++) for (let b = 1; a + b < 10; b++) tried.push(most([a, b, 10 - a - b]));
  expect(counts.reduce((sum, n) => sum + n)).toBe(10);
  expect(most(counts)).toBe(Math.min(...tried));
  expect(splitBlocks(3, 3, costOf)).toEqual([1, 1, 1]);
  expect(() => splitBlocks(2, 3, costOf)).toThrow("2 blocks cannot be split into 3 stages");
});

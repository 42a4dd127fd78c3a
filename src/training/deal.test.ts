import { describe, expect, it } from "vitest";
import { totalTokens } from "../data/batches.js";
import type { Sample } from "../data/sample.js";
import { deal } from "./deal.js";

const sample = (index: number, tokens: number, beside?: readonly Sample[]): Sample => ({
  index,
  ids: new Int32Array(tokens),
  supervised: new Uint8Array(tokens),
  ...(beside ? { beside } : {}),
});
const rows = (...lengths: number[]) => lengths.map((length, i) => sample(i, length));
const tokens = (dealt: ReturnType<typeof deal>) => dealt.map((own) => totalTokens(own.flatMap(({ batch }) => batch)));

describe("the micro-batches of a step", () => {
  it("go to one rank as they are", () => {
    const step = [rows(4, 5), rows(900)];
    expect(deal(step, 1)).toEqual([step.map((batch, of) => ({ of, from: 0, batch }))]);
  });

  it("are dealt out by tokens, whole where that comes out even", () => {
    const dealt = deal([rows(10), rows(30), rows(20), rows(20)], 2);
    expect(tokens(dealt)).toEqual([40, 40]);
    expect(dealt.flat().every(({ from }) => from === 0)).toBe(true);
  });

  it.each([2, 3, 4])("one of them is cut for %i ranks, and every sample is dealt once, in its place", (ranks) => {
    const step = [rows(40, 8, 8, 8, 8, 8, 30, 10, 20, 20)];
    const dealt = deal(step, ranks);
    expect(Math.max(...tokens(dealt))).toBeLessThan((1.4 * 160) / ranks);
    const found = dealt.flat().toSorted((a, b) => a.from - b.from);
    expect(found.flatMap(({ batch }) => batch)).toEqual(step[0]);
    for (const { from, batch } of found) expect(step[0]![from]).toBe(batch[0]);
    expect(deal(step, ranks)).toEqual(dealt);
  });

  it("samples that stay together are never cut apart, and ranks beyond them have nothing", () => {
    const pairs = [0, 1, 2].map((index) => sample(index, 10, [sample(index, 12)]));
    const step = [pairs.flatMap((first) => [first, ...first.beside!])];
    const dealt = deal(step, 5);
    expect(dealt.flatMap((own) => own.map(({ batch }) => batch.length))).toEqual([2, 2, 2]);
    expect(dealt.filter((own) => own.length === 0)).toHaveLength(2);
    expect(deal(step, 2, () => false).map((own) => own.length)).toEqual([1, 0]);
  });
});

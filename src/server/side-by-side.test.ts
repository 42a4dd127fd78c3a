import { expect, it } from "vitest";
import { sideBySide } from "./side-by-side.js";

const moment = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Generators that give 0, 1, 2 with their number, and places for as many at a time. */
function stage(places: number) {
  const seen = { running: 0, most: 0, ended: 0, held: 0 };
  const starts = Array.from(
    { length: 4 },
    (_, who) =>
      async function* () {
        seen.most = Math.max(seen.most, ++seen.running);
        try {
          for (let i = 0; i < 3; i++) {
            await moment();
            if (who === 3 && i === 2) throw new Error("broken");
            yield `${who}.${i}`;
          }
        } finally {
          seen.running--;
          seen.ended++;
        }
      },
  );
  const room = () => {
    if (seen.held >= places) return undefined;
    seen.held++;
    return Promise.resolve(() => void seen.held--);
  };
  return { seen, starts, room };
}

it.each([0, 1, 2, 9])(
  "with %i places beside the first: all that each gives, in its order; places come back",
  async (places) => {
    const { seen, starts, room } = stage(places);
    const got: string[] = [];
    for await (const piece of sideBySide(starts.slice(0, 3), room)) got.push(piece);
    expect([...got].sort()).toEqual(["0.0", "0.1", "0.2", "1.0", "1.1", "1.2", "2.0", "2.1", "2.2"]);
    for (const who of ["0", "1", "2"])
      expect(got.filter((piece) => piece.startsWith(who)).join()).toBe(`${who}.0,${who}.1,${who}.2`);
    expect(seen).toMatchObject({ running: 0, ended: 3, held: 0, most: Math.min(3, places + 1) });
  },
);

it("an error in one ends all; so does leaving", async () => {
  const broken = stage(9);
  await expect(async () => {
    for await (const _ of sideBySide(broken.starts, broken.room));
  }).rejects.toThrow("broken");
  expect(broken.seen).toMatchObject({ running: 0, ended: 4, held: 0 });
  const left = stage(9);
  for await (const _ of sideBySide(left.starts, left.room)) break;
  expect(left.seen).toMatchObject({ running: 0, held: 0 });
});

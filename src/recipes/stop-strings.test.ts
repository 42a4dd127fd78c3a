import * as fc from "fast-check";
import { expect, it } from "vitest";
import { untilStop } from "./stop-strings.js";

function pass(pieces: readonly string[], stops: readonly string[]) {
  const watch = untilStop(stops);
  const out = pieces.map((piece) => watch.push(piece));
  return { out, text: out.join("") + watch.end(), stopped: watch.stopped };
}

it("holds back what may be a stop string's beginning, and lets it go when it is not", () => {
  expect(pass(["a<", "b", "c<", "/s", ">d"], ["</s>"])).toEqual({
    out: ["a", "<b", "c", "", ""],
    text: "a<bc",
    stopped: true,
  });
  expect(pass(["x<", "/s"], ["</s>"])).toMatchObject({ text: "x</s", stopped: false });
});

it("cuts at the first stop string, however the text comes in pieces", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 12 });
  const stops = fc.array(fc.string({ unit: fc.constantFrom("a", "b"), minLength: 1, maxLength: 3 }), { maxLength: 3 });
  fc.assert(
    fc.property(fc.array(letters), stops, (pieces, list) => {
      const whole = pieces.join("");
      const ats = list.map((stop) => whole.indexOf(stop)).filter((at) => at >= 0);
      const expected = ats.length > 0 ? whole.slice(0, Math.min(...ats)) : whole;
      // A stop string that ends first may begin later than one that is still open, as in every streaming server.
      const { text, stopped } = pass(pieces, list);
      expect(stopped).toBe(ats.length > 0);
      if (list.length <= 1) expect(text).toBe(expected);
      else expect(whole.startsWith(text)).toBe(true);
    }),
  );
});

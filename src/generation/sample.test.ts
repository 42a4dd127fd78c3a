import { expect, it } from "vitest";
import { random } from "../tensor/index.js";
import { sampleToken } from "./sample.js";

const rng = random(1, "test");
const greedy = (options: Parameters<typeof sampleToken>[1], previous: number[], made: number[]) =>
  sampleToken(Float32Array.of(3, 2.5, 2), options, previous, rng, made);

it("a frequency penalty counts every time a token was generated, a presence penalty only whether it was", () => {
  expect(greedy({}, [0, 0], [0, 0])).toBe(0);
  expect(greedy({ frequencyPenalty: 0.4 }, [0], [0])).toBe(0);
  expect(greedy({ frequencyPenalty: 0.4 }, [0, 0], [0, 0])).toBe(1);
  expect(greedy({ presencePenalty: 0.4 }, [0, 0, 0], [0, 0, 0])).toBe(0);
  expect(greedy({ presencePenalty: 0.6 }, [0], [0])).toBe(1);
});

it("these two leave the prompt's tokens alone; a repetition penalty does not", () => {
  expect(greedy({ frequencyPenalty: 2, presencePenalty: 2 }, [0, 0], [])).toBe(0);
  expect(greedy({ repetitionPenalty: 2 }, [0], [])).toBe(1);
});

/** The definition, plainly: every token an object, all of them sorted. */
function plainDraw(logits: Float32Array, { topP = 1, topK = 0, minP = 0, temperature = 1 }, uniform: number): number {
  let candidates = Array.from(logits, (x, id) => ({ id, p: x / temperature })).filter((c) => Number.isFinite(c.p));
  candidates.sort((a, b) => b.p - a.p || a.id - b.id);
  if (topK > 0) candidates = candidates.slice(0, topK);
  const max = candidates[0]!.p;
  let total = 0;
  for (const c of candidates) total += c.p = Math.exp(c.p - max);
  let sum = 0;
  const end = candidates.findIndex((c) => (sum += c.p) >= topP * total) + 1 || candidates.length;
  if (topP < 1) candidates = candidates.slice(0, end);
  candidates = candidates.filter((c) => c.p >= minP * candidates[0]!.p);
  let at = uniform * candidates.reduce((s, c) => s + c.p, 0);
  return (candidates.find((c) => (at -= c.p) < 0) ?? candidates.at(-1)!).id;
}

it("draws what sorting the whole vocabulary draws, whatever the filters and however flat the logits", () => {
  const draws = random(2, "draws");
  const shapes = [0.2, 3, 30].map((width) => Float32Array.from({ length: 500 }, () => width * draws.normal()));
  shapes.push(Float32Array.of(0, -0, 0, 1, 1, Number.NaN, Number.NEGATIVE_INFINITY, -3));
  const filters = [{}, { topK: 3 }, { topP: 0.7 }, { minP: 0.2 }, { topK: 20, topP: 0.9, minP: 0.05 }, { topP: 1e-9 }];
  for (const logits of shapes) {
    for (const filter of filters) {
      for (let i = 0; i < 40; i++) {
        const options = { ...filter, temperature: [0.3, 1, 2][i % 3]! };
        const uniform = i === 0 ? 0 : i === 1 ? 0.9999 : draws.uniform();
        const drawn = sampleToken(logits.slice(), options, [], { ...rng, uniform: () => uniform });
        expect(drawn, JSON.stringify({ options, uniform })).toBe(plainDraw(logits, options, uniform));
      }
    }
  }
});

it("logits that are all no numbers are refused, not drawn from", () => {
  expect(() => sampleToken(new Float32Array(3).fill(Number.NaN), { temperature: 1 }, [], rng)).toThrow(
    "no finite number",
  );
});

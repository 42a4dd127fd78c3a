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

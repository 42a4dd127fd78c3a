import { describe, expect, it } from "vitest";
import { MARKS, type Rollout, type Sample, type Side, together } from "../../data/sample.js";
import { random } from "../../tensor/index.js";
import { createObjective, OBJECTIVES, type ObjectiveName, type ObjectiveSettings } from "./index.js";
import { isTaught, type ObjectiveKind, type Scored, type ScoringObjective, type Totals } from "./objective.js";
import { markedTokens } from "./sequences.js";

const rng = random(1, "objectives");
const MADE = { perStep: 4, eosId: 101, maxSeqLen: 8 };

/** Rows of ragged lengths, as each kind of row makes them. */
const SIDES: Readonly<Record<ObjectiveKind["rows"], readonly (readonly (Side | undefined)[])[]>> = {
  texts: [[undefined], [undefined], [undefined], [undefined]],
  pairs: [0, 1, 2, 3].map(() => ["chosen", "rejected"]),
  judged: [["desirable"], ["undesirable"], ["desirable"], ["desirable"]],
  prompts: [[undefined], [undefined], [undefined], [undefined]],
};

function samplesOf(kind: ObjectiveKind["rows"]): Sample[] {
  return SIDES[kind].map((sides, index) => {
    const [first, ...beside] = sides.map((side, i): Sample => {
      const [prompt, answer] = [2 + index, 2 + ((3 * index + i) % 4)];
      const supervised = new Uint8Array(prompt + answer).fill(MARKS.target, prompt);
      const ids = Int32Array.from(supervised, () => Math.floor(100 * rng.uniform()));
      const more = kind === "prompts" ? { rollout: rolloutOf(answer, index) } : {};
      return { index, ids, supervised, ...(side ? { side } : {}), ...more };
    });
    return beside.length > 0 ? { ...first!, beside } : first!;
  });
}

/** A completion whose model has moved on since it was sampled; one of the four is not learned from. */
function rolloutOf(tokens: number, index: number): Rollout {
  const logps = () => Float64Array.from({ length: tokens }, () => -0.1 - 2 * rng.uniform());
  return { advantage: index - 1.5, masked: index === 3, oldLogps: logps(), referenceLogps: logps() };
}

const scoredOf = (samples: readonly Sample[]): Scored[] =>
  samples.map((sample) => {
    const logps = Float64Array.from({ length: markedTokens([sample]) }, () => -0.1 - 2 * rng.uniform());
    const answer = logps.subarray(-sample.supervised.filter((mark) => mark === MARKS.target).length);
    return { sample, logps, reference: answer.reduce((a, b) => a + b, 0) + 2 * rng.normal() };
  });

const withoutMeasured = (scored: readonly Scored[]) => scored.filter(({ sample }) => sample.side !== "mismatched");

function totalsOf(objective: ScoringObjective, scored: readonly Scored[]): Totals {
  const others = scored.filter(({ sample }) => sample.side === "mismatched");
  const counts = objective.count(withoutMeasured(scored).map(({ sample }) => sample));
  return { ...counts, ...(others.length > 0 ? objective.measure!(others) : {}) };
}

/** Every objective with each of its loss types, and with several where it takes several. */
const CASES = (Object.keys(OBJECTIVES) as ObjectiveName[]).flatMap(
  (name): { name: string; settings: ObjectiveSettings }[] => {
    const { lossTypes = [], defaults }: ObjectiveKind = OBJECTIVES[name];
    const more = Object.hasOwn(defaults, "labelSmoothing") ? { labelSmoothing: 0.1 } : {};
    const several = Array.isArray(defaults.lossType)
      ? [{ lossType: lossTypes.slice(0, 2), lossWeights: [0.5, 2] }]
      : [];
    const types = [...lossTypes.map((lossType) => ({ lossType })), ...several];
    const ratios = Object.hasOwn(defaults, "epsilon")
      ? [
          { beta: 0.3 },
          { beta: 0.3, importanceSamplingLevel: "sequence" as const },
          { beta: 0.3, useBiasCorrectionKl: false, delta: 1.5 },
        ]
      : [];
    return (types.length > 0 ? [...types, ...ratios] : [{}]).map((type) => ({
      name: [name, Object.values(type)].flat(2).join(" "),
      settings: { name, ...more, ...type },
    }));
  },
);

/** What every objective of log-probabilities has to pass. */
describe.each(CASES.filter(({ settings }) => !isTaught(createObjective(settings))))("$name", ({ settings }) => {
  const kind: ObjectiveKind = OBJECTIVES[settings.name];
  const objective = createObjective(settings) as ScoringObjective;
  const plain = samplesOf(kind.rows);
  const scored = scoredOf(together(objective.sequences?.(plain, MADE) ?? plain));
  const totals = totalsOf(objective, scored);
  const own = withoutMeasured(scored);

  it("its weights are the derivatives of its loss", () => {
    const { weights } = objective.loss(own, totals);
    const at = (sequence: number, token: number, by: number) => {
      const moved = own.map(({ logps, ...one }, i) => ({
        ...one,
        logps: Array.from(logps, (x, j) => (i === sequence && j === token ? x + by : x)),
      }));
      return objective.loss(moved, totals).loss;
    };
    for (const [i, { logps }] of own.entries()) {
      expect(weights[i]).toHaveLength(logps.length);
      for (let j = 0; j < logps.length; j++) {
        const slope = (at(i, j, 1e-5) - at(i, j, -1e-5)) / 2e-5;
        expect(Math.abs(weights[i]![j]! - slope), `sequence ${i}, token ${j}`).toBeLessThan(1e-7);
      }
    }
    expect(weights.some((row) => Array.from(row).some((w) => w !== 0))).toBe(true);
  });

  const isWhole = [settings.lossType ?? []].flat().some((type) => kind.wholeSteps?.includes(type));
  it.skipIf(isWhole)("k micro-batches are one batch", () => {
    const whole = objective.loss(own, totals);
    const at = own.filter(({ sample }) => sample.index < 2).length;
    const parts = [own.slice(0, at), own.slice(at)];
    const counted = parts.map((part) => objective.count(part.map(({ sample }) => sample)));
    for (const [name, count] of Object.entries(objective.count(own.map(({ sample }) => sample))))
      expect(counted[0]![name]! + counted[1]![name]!).toBe(count);
    const found = parts.map((part) => objective.loss(part, totals));
    expect(found[0]!.loss + found[1]!.loss).toBeCloseTo(whole.loss, 12);
    expect(found.flatMap(({ weights }) => weights)).toEqual(whole.weights);
    for (const [name, [sum, count]] of Object.entries(whole.metrics)) {
      expect(found[0]!.metrics[name]![0] + found[1]!.metrics[name]![0], name).toBeCloseTo(sum, 12);
      expect(found[0]!.metrics[name]![1] + found[1]!.metrics[name]![1], name).toBeCloseTo(count, 12);
    }
  });

  it("where all tokens weigh the same, share is that weight", () => {
    const { weights } = objective.loss(own, totals);
    const all = new Set(weights.flatMap((row) => Array.from(row)));
    if (objective.share) expect([...all]).toEqual([-objective.share(totals)]);
    else expect(all.size).toBeGreaterThan(1);
  });

  it("a reference changes its loss where it has one, and only there", () => {
    const moved = own.map((one, i) => ({ ...one, reference: one.reference + i + 1 }));
    const isChanged = objective.loss(moved, totals).loss !== objective.loss(own, totals).loss;
    expect(isChanged).toBe(objective.usesReference && settings.lossType !== "sft");
    if (kind.rows !== "prompts") expect(kind.usesReference).toBe(objective.usesReference);
  });
});

it("without a reference answers are ended with EOS, where there is room, once", () => {
  const { sequences } = createObjective({ name: "simpo" });
  const plain = samplesOf("pairs");
  const made = sequences!(plain, MADE);
  for (const [i, sample] of together(made).entries()) {
    const before = together(plain)[i]!;
    const more = before.ids.length < MADE.maxSeqLen ? [MADE.eosId] : [];
    expect([...sample.ids]).toEqual([...before.ids, ...more]);
    expect([...sample.supervised]).toEqual([...before.supervised, ...more.map(() => MARKS.target)]);
  }
  expect(sequences!(made, MADE)).toEqual(made);
});

describe("settings that do not go together are refused", () => {
  it.each([
    [{ name: "sft", beta: 0.1 }, "objective.beta: sft does not read it; it has no settings"],
    [
      { name: "dpo", gamma: 1 },
      "objective.gamma: dpo does not read it; it reads beta, loss_type, loss_weights, label_smoothing",
    ],
    [{ name: "kto", lossType: "sigmoid" }, "objective.loss_type: kto has no 'sigmoid'; it has kto, apo_zero_unpaired"],
    [{ name: "cpo", lossType: ["sigmoid", "ipo"] }, "objective.loss_type: cpo takes one, not 2 (sigmoid, ipo)"],
    [
      { name: "dpo", lossType: ["sigmoid", "sft"], lossWeights: [1] },
      "objective.loss_weights: 1 weights for 2 loss types",
    ],
    [{ name: "dpo", beta: 0 }, "objective.beta: dpo needs one above 0, as its own 0.1 is"],
    [{ name: "dpo", lossType: "exo_pair" }, "objective.label_smoothing: exo_pair needs one above 0"],
    [
      { name: "distill", gamma: 1 },
      "objective.gamma: distill does not read it; it reads divergence, temperature, beta",
    ],
    [
      { name: "distill", beta: 0.3 },
      "objective.beta: is the teacher's part in the mixture of jsd, and objective.divergence is",
    ],
    [{ name: "distill", divergence: "jsd", beta: 1 }, "objective.beta: expected a number between 0 and 1"],
    [{ name: "distill", divergence: "reverse", topK: 8 }, "objective.top_k: goes with objective.divergence forward"],
  ] as const)("%j", (settings, message) => {
    expect(() => createObjective(settings as ObjectiveSettings)).toThrow(message);
  });

  it("kto in steps of one row", () => {
    const { sequences } = createObjective({ name: "kto" });
    expect(() => sequences!(samplesOf("judged"), { ...MADE, perStep: 1 })).toThrow(
      "batch_size: kto measures a row against the others of its step",
    );
    expect(createObjective({ name: "kto", lossType: "apo_zero_unpaired" }).sequences).toBeUndefined();
  });
});

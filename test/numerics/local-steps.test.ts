import { afterAll, expect, it } from "vitest";
import { uploadTensors } from "../../src/runtime/index.js";
import { f32, type HostTensor, type Shape } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import type { Communicator } from "../../src/training/communicators/communicator.js";
import { COMMUNICATORS } from "../../src/training/communicators/index.js";
import { LocalSteps } from "../../src/training/local-steps.js";
import type { Trainer, TrainerState } from "../../src/training/trainer.js";
import { cpuDevice } from "./evaluate.js";
import { ranksInProcess } from "./in-process.js";
import { readAdapterOf, readCase, readJson, VECTORS, worstError } from "./vectors.js";

const devices = await Promise.all([cpuDevice(), cpuDevice()]);
afterAll(() => Promise.all(devices.map((device) => device.dispose())));

const reference = readCase("llama3");
const { lora, tensors } = readAdapterOf(reference, "all");
const OPTIONS = { lr: 1e-2, maxGradNorm: 0.5 };
const steps = [reference.rows.slice(0, 4), reference.rows.slice(2), reference.rows.slice(1, 5)].map((rows) => [rows]);

function plainOn(rank: number, more: { communicator?: Communicator; stepsAlone?: boolean } = {}): BlockTrainer {
  const model = { device: devices[rank]!, config: reference.config, weights: new Map(weights[rank]!) };
  const optimizer = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 } as const;
  return new BlockTrainer(model, { trainables: { kind: "lora", lora }, initial: tensors, optimizer, seed: 1, ...more });
}
const weights = devices.map((device) => uploadTensors(device, reference.weights));

/** Ranks of DiLoCo; `calls` counts what they send. */
function apart(count: number, calls: string[] = []): LocalSteps[] {
  return ranksInProcess(count).map((ranks, rank) => {
    const communicator = new Proxy(ranks, {
      get(target, name: keyof Communicator) {
        if (typeof target[name] === "function") calls.push(name);
        return target[name];
      },
    });
    const own = plainOn(rank, { communicator, stepsAlone: true });
    return new LocalSteps(own, { communicator, outerLr: 0.7, outerMomentum: 0.9 });
  });
}

const values = (of: ReadonlyMap<string, HostTensor>) =>
  new Map([...of].map(([name, { data }]) => [name, data as Float32Array]));
const all = ({ parameters, slots }: TrainerState) =>
  [["", parameters] as const, ...slots].map(([kind, part]) => [kind, values(part)]);
/** The same with its tensors in another order, as a file may have them. */
const turned = ({ parameters, slots, ...state }: TrainerState): TrainerState => ({
  ...state,
  parameters: new Map([...parameters].reverse()),
  slots: new Map([...slots].map(([name, part]) => [name, new Map([...part].reverse())])),
});

interface Vectors {
  readonly shapes: Readonly<Record<string, Shape>>;
  readonly start: Readonly<Record<string, number[]>>;
  readonly rounds: readonly { readonly ranks: readonly Vectors["start"][]; readonly agreed: Vectors["start"] }[];
}

it("where ranks meet, PyTorch's SGD with Nesterov momentum moves what they agree on", async () => {
  const { shapes, start, rounds } = readJson(`${VECTORS}local-steps.json`) as Vectors;
  const asTensors = (of: Vectors["start"]) =>
    new Map(Object.entries(of).map(([name, data]) => [name, f32(shapes[name]!, data)]));
  const ranks = ranksInProcess(2).map((communicator, rank) => {
    let state: TrainerState = { step: 0, parameters: asTensors(start), slots: new Map() };
    let round = 0;
    const own = {
      step: async () => {
        state = { ...state, parameters: asTensors(rounds[round++]!.ranks[rank]!) };
        return { loss: 1, metrics: {}, gradNorm: 1, tokens: 0, supervisedTokens: 0, applied: true };
      },
      state: async () => state,
      values: async () => state.parameters,
      restore: async (given: TrainerState) => void (state = given),
    } as unknown as Trainer;
    return new LocalSteps(own, { communicator, outerLr: 0.7, outerMomentum: 0.9 });
  });
  for (const { agreed } of rounds) {
    await Promise.all(ranks.map((rank) => rank.step(steps[0]!, OPTIONS)));
    for (const { parameters } of await Promise.all(ranks.map((rank) => rank.state())))
      for (const [name, { data }] of parameters)
        for (const [i, expected] of agreed[name]!.entries())
          expect(Math.abs(Number(data[i]) - expected)).toBeLessThan(1e-6);
  }
});

it("one rank that meets after every step, at rate 1 without momentum, is AdamW", async () => {
  const plain = plainOn(0);
  const communicator = COMMUNICATORS.local();
  const own = new LocalSteps(plainOn(1, { stepsAlone: true }), { communicator, outerLr: 1, outerMomentum: 0 });
  for (const step of steps) {
    const [expected, found] = [await plain.step(step, OPTIONS), await own.step(step, OPTIONS)];
    expect(Math.abs(found.loss / expected.loss - 1)).toBeLessThan(1e-6);
    expect(found).toMatchObject({ tokens: expected.tokens, supervisedTokens: expected.supervisedTokens });
    expect(Math.abs(found.metrics["round/loss"]! / expected.loss - 1)).toBeLessThan(1e-6);
  }
  const [expected, found] = [await plain.state(), await own.state()];
  const worst = worstError(values(found.parameters), values(expected.parameters));
  expect(worst.error, worst.name).toBeLessThan(1e-6);
  for (const trainer of [plain, own]) await trainer.dispose();
});

it("ranks send nothing until they meet, agree bit for bit, and go on from a state as if they had never stopped", async () => {
  const calls: string[] = [];
  const ranks = apart(2, calls);
  const take = (of: LocalSteps[], step: (typeof steps)[number], meets: boolean) =>
    Promise.all(of.map((rank) => rank.step(step, { ...OPTIONS, meets })));
  await take(ranks, steps[0]!, false);
  expect(calls).toEqual([]);
  await take(ranks, steps[1]!, true);
  expect(new Set(calls)).toEqual(new Set(["sum", "gather"]));
  const states = await Promise.all(ranks.map((rank) => rank.state()));
  expect(all(states[1]!)).toEqual(all(states[0]!));
  const moments = (rank: number) => values(states[0]!.slots.get(`rank_${rank}.first_moments`)!);
  expect(moments(1)).not.toEqual(moments(0));
  const resumed = apart(2);
  await Promise.all(resumed.map((rank) => rank.restore(turned(structuredClone(states[0]!)))));
  for (const of of [ranks, resumed]) {
    await take(of, steps[2]!, false);
    await take(of, steps[0]!, true);
  }
  const [went, came] = [
    await Promise.all(ranks.map((r) => r.state())),
    await Promise.all(resumed.map((r) => r.state())),
  ];
  expect(all(came[0]!)).toEqual(all(went[0]!));
  const [first, second] = await Promise.all(resumed.map((rank) => rank.validate(steps[1]!)));
  expect(second).toEqual(first);
  for (const trainer of [...ranks, ...resumed]) await trainer.dispose();
});

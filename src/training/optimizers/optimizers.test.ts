import { describe, expect, it } from "vitest";
import { interpret } from "../../graph/index.js";
import { f32, type HostTensor, random, sizeOf } from "../../tensor/index.js";
import { createOptimizer, OPTIMIZERS, type OptimizerName } from "./index.js";

const N = 8;
const rng = random(1, "optimizers");
const drawn = () => Float32Array.from({ length: N }, () => rng.normal());
const CASES = (Object.keys(OPTIMIZERS) as OptimizerName[]).flatMap((name) => [
  [name, [N]] as const,
  [name, [2, 4]] as const,
]);

/** What every optimiser of the table has to pass, of a vector and of a matrix. */
describe.each(CASES)("%s of a tensor [%s]", (name, shape) => {
  const optimizer = createOptimizer({ name, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 });
  const f = optimizer.step(shape);
  const slots = Object.entries(optimizer.slots(shape));
  const fresh = (param: Float32Array): Record<string, HostTensor> => ({
    param: f32(shape, param),
    ...Object.fromEntries(slots.map(([slot, own]) => [slot, f32(own, new Float32Array(sizeOf(own)))])),
  });

  function take(state: Record<string, HostTensor>, grad: Float32Array, step: number, clip = 1) {
    const scalars = Object.entries({ clip, ...optimizer.scalars(1e-2, step) }).map(([key, x]) => [key, f32([1], [x])]);
    const results = interpret(f, { ...state, ...Object.fromEntries(scalars), grad: f32(shape, grad) });
    return Object.fromEntries(
      Object.entries(results).map(([key, { shape, data }]) => [
        key.slice("new_".length),
        f32(shape, Float32Array.from(data as Float64Array)),
      ]),
    );
  }

  it("reads the parameters, the gradient, its slots and scalars, and gives new parameters and slots", () => {
    const vectors = ["param", ...slots.map(([slot]) => slot)];
    const scalars = ["clip", ...Object.keys(optimizer.scalars(1, 1))];
    expect(Object.keys(f.inputs).sort()).toEqual(["grad", ...vectors, ...scalars].sort());
    expect(Object.keys(f.outputs).sort()).toEqual(vectors.map((key) => `new_${key}`).sort());
  });

  it("moves against the gradient, and leaves alone what has none: the padding of a flat vector", () => {
    const grad = drawn();
    grad[3] = 0;
    const { param } = take(fresh(new Float32Array(N)), grad, 1);
    expect(Array.from(param!.data as Float32Array, Math.sign)).toEqual(
      Array.from(grad, (g) => (g === 0 ? 0 : -Math.sign(g))),
    );
  });

  it("a clipped gradient is a smaller one", () => {
    const [param, grad] = [drawn(), drawn()];
    const clipped = take(fresh(param), grad, 1, 0.5);
    expect(clipped).toEqual(
      take(
        fresh(param),
        grad.map((g) => 0.5 * g),
        1,
      ),
    );
  });

  it("its slots are all that it remembers", () => {
    const [first, second] = [drawn(), drawn()];
    const once = take(fresh(drawn()), first, 1);
    expect(take({ ...once }, second, 2)).toEqual(take(structuredClone(once), second, 2));
    expect(take({ ...once }, second, 2)).not.toEqual(take(fresh(once.param!.data as Float32Array), second, 2));
  });
});

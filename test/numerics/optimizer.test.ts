import { describe, expect, it } from "vitest";
import { f32 } from "../../src/tensor/index.js";
import { ROW, squaredNorms } from "../../src/training/flat.js";
import { createOptimizer } from "../../src/training/optimizers/index.js";
import { learningRate, type ScheduleName } from "../../src/training/schedule.js";
import { type Evaluate, inFloat64, onCpu } from "./evaluate.js";
import { readJson, relativeError, VECTORS } from "./vectors.js";

interface Vectors {
  adamw: {
    lr: number;
    betas: [number, number];
    eps: number;
    weight_decay: number;
    start: number[];
    gradients: number[][];
    parameters: number[][];
    first_moment: number[];
    second_moment: number[];
  }[];
  clip: { max_grad_norm: number; gradients: number[][]; norm: number; clipped: number[][] }[];
  schedules: { name: ScheduleName; warmup_steps: number; total_steps: number; factors: number[] }[];
}

const { adamw, clip, schedules } = readJson(`${VECTORS}optimizer.json`) as Vectors;

describe.each<{ engine: string; evaluate: Evaluate }>([
  { engine: "float64 interpreter", evaluate: inFloat64 },
  { engine: "ONNX Runtime, fp32", evaluate: onCpu },
])("AdamW on the $engine equals torch.optim.AdamW", ({ evaluate }) => {
  it.each(adamw)("lr $lr, betas $betas, eps $eps, decay $weight_decay", async (reference) => {
    const { lr, betas, eps, weight_decay: weightDecay, start, gradients, parameters } = reference;
    const n = start.length;
    const optimizer = createOptimizer({ name: "adamw", betas, eps, weightDecay });
    const f = optimizer.step([n]);
    const zeros = () => f32([n], new Float32Array(n));
    let state = { param: f32([n], start), first_moments: zeros(), second_moments: zeros() };
    for (const [i, gradient] of gradients.entries()) {
      const scalars = Object.entries({ clip: 1, ...optimizer.scalars(lr, i + 1) }).map(
        ([name, x]) => [name, f32([1], [x])] as const,
      );
      const result = await evaluate(f, new Map([...Object.entries(state), ["grad", f32([n], gradient)], ...scalars]));
      const next = (name: string) => f32([n], Float32Array.from(result.get(name)!));
      state = {
        param: next("new_param"),
        first_moments: next("new_first_moments"),
        second_moments: next("new_second_moments"),
      };
      expect(relativeError(state.param.data as Float32Array, parameters[i]!), `step ${i}`).toBeLessThan(1e-6);
    }
    expect(relativeError(state.first_moments.data as Float32Array, reference.first_moment)).toBeLessThan(1e-6);
    expect(relativeError(state.second_moments.data as Float32Array, reference.second_moment)).toBeLessThan(1e-6);
  });

  it.each(clip)("gradient norm, clipped at $max_grad_norm", async ({ max_grad_norm, gradients, norm, clipped }) => {
    const flat = new Float32Array(ROW);
    flat.set(gradients.flat());
    const norms = await evaluate(squaredNorms(ROW), new Map([["grad", f32([ROW], flat)]]));
    const squared = norms.get("squared_norms")![0]!;
    expect(Math.sqrt(squared)).toBeCloseTo(norm, 5);
    const factor = Math.min(1, max_grad_norm / (Math.sqrt(squared) + 1e-6));
    const scaled = gradients.flat().map((x) => x * factor);
    expect(relativeError(scaled, clipped.flat())).toBeLessThan(1e-6);
  });
});

describe("schedules equal transformers'", () => {
  it.each(schedules)("$name after $warmup_steps warm-up steps", ({ name, warmup_steps, total_steps, factors }) => {
    factors.forEach((factor, step) => {
      const rate = learningRate(step, { name, lr: 1, warmupSteps: warmup_steps, totalSteps: total_steps });
      expect(rate).toBeCloseTo(factor, 12);
    });
  });
});

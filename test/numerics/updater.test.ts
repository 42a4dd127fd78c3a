import { afterAll, beforeAll, expect, it } from "vitest";
import { startEngine } from "../../src/node/engine.js";
import type { Device } from "../../src/runtime/index.js";
import { f32, random } from "../../src/tensor/index.js";
import { PIECE } from "../../src/training/flat.js";
import { createOptimizer } from "../../src/training/optimizers/index.js";
import { flatVector, layoutOf, uploadAll } from "../../src/training/parameters.js";
import { Updater } from "../../src/training/updater.js";

let device: Device;
beforeAll(async () => {
  device = await startEngine({ threads: 1 });
});
afterAll(() => device.dispose());

const OPTIONS = { betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0.1 } as const;

/** Norm and parameters after two steps of AdamW over one tensor of these values. */
async function moved(values: Float32Array, gradient: Float32Array) {
  const shape = [values.length];
  const layout = layoutOf(new Map([["w", shape]]));
  const updater = new Updater(
    device,
    layout,
    createOptimizer({ name: "adamw", ...OPTIONS }),
    new Map([["w", f32(shape, values)]]),
  );
  const flat = flatVector(device, layout);
  uploadAll(device, layout, flat, new Map([["w", f32(shape, gradient)]]));
  try {
    const norm = await updater.norm(flat);
    for (let step = 0; step < 2; step++) updater.update(flat, 1e-2, 0.5);
    return { norm, after: (await updater.values()).get("w")!.data as Float32Array };
  } finally {
    updater.dispose();
    device.free(flat.all.buffer);
  }
}

it("more elements than one run goes over are moved as if each were alone, and count in the norm", async () => {
  const n = PIECE + 5;
  const draws = random(1, "updater");
  const some = Float32Array.from({ length: 1024 }, () => draws.normal());
  const values = Float32Array.from({ length: n }, (_, i) => some[i % 1024]!);
  const gradient = Float32Array.from({ length: n }, (_, i) => some[(3 * i + 1) % 1024]!);
  const { norm, after } = await moved(values, gradient);
  expect(norm / Math.sqrt(gradient.reduce((sum, x) => sum + x * x, 0))).toBeCloseTo(1, 6);
  for (const start of [0, PIECE - 1024, n - 1024]) {
    const alone = await moved(values.slice(start, start + 1024), gradient.slice(start, start + 1024));
    expect(after.slice(start, start + 1024), `from ${start}`).toEqual(alone.after);
  }
});

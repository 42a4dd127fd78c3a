import { expect, it } from "vitest";
import { join } from "../checkpoint/files.js";
import { memoryFiles } from "../checkpoint/memory-files.js";
import { f32 } from "../tensor/index.js";
import { type Checkpoint, checkpointSteps, readNewestCheckpoint, writeCheckpoint } from "./checkpoints.js";

function checkpoint(step: number): Checkpoint {
  const values = (x: number) => new Map([["model.layers.0.self_attn.q_proj.lora_A.weight", f32([1, 2], [x, step])]]);
  const state = { step, parameters: values(0.1), firstMoments: values(1e-20), secondMoments: values(-0) };
  return { step, state, progress: { bestEvalLoss: 1.5 } };
}

async function run(steps: number, keepLast = 3) {
  const files = memoryFiles();
  for (let step = 1; step <= steps; step++) {
    const fill = (folder: string) => files.write(join(folder, "adapter.txt"), `adapter of ${step}`);
    await writeCheckpoint(files, "checkpoints", checkpoint(step), { keepLast, fill });
  }
  const notes: string[] = [];
  return { files, notes, newest: () => readNewestCheckpoint(files, "checkpoints", (n) => notes.push(n)) };
}

it("gives back what it wrote, bit for bit, and keeps the newest few", async () => {
  const { files, notes, newest } = await run(12, 2);
  expect(await newest()).toEqual({ ...checkpoint(12), path: "checkpoints/step-12" });
  expect(await checkpointSteps(files, "checkpoints")).toEqual([12, 11]);
  expect(notes).toEqual([]);
});

it("has nothing to give where no checkpoint is", async () => {
  expect(await readNewestCheckpoint(memoryFiles(), "checkpoints", () => {})).toBeUndefined();
});

const FILES = ["trainer_state.safetensors", "trainer_state.json", "complete.json", "adapter.txt"];

it.each(FILES)(
  "newest checkpoint truncated or bit-flipped (%s): falls back to the one before, and says so",
  async (name) => {
    const { files, notes, newest } = await run(3);
    const path = `checkpoints/step-3/${name}`;
    const sound = await files.read(path);
    const flipped = sound.slice();
    flipped[Math.floor(flipped.length / 2)]! ^= 1;
    for (const damaged of [sound.subarray(0, Math.floor(sound.length * 0.9)), flipped, new Uint8Array(0)]) {
      await files.write(path, damaged);
      expect((await newest())?.step).toBe(2);
      expect(notes.pop()).toContain("checkpoints/step-3 is damaged and passed over");
    }
    await files.remove(path);
    expect((await newest())?.step).toBe(2);
    await files.write(path, sound);
    expect((await newest())?.step).toBe(3);
  },
);

it("leaves the earlier checkpoint intact when writing fails (disk full)", async () => {
  const { files, newest } = await run(2);
  const full = { ...files, write: async () => Promise.reject(new Error("ENOSPC")) };
  await expect(writeCheckpoint(full, "checkpoints", checkpoint(3), { keepLast: 1 })).rejects.toThrow("ENOSPC");
  expect((await newest())?.step).toBe(2);
  expect(await checkpointSteps(files, "checkpoints")).toEqual([2, 1]);
});

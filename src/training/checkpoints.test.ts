import fc from "fast-check";
import { expect, it } from "vitest";
import { type Files, join } from "../formats/files.js";
import { memoryFiles } from "../formats/memory-files.js";
import { f32 } from "../tensor/index.js";
import { type Checkpoint, checkpointSteps, readNewestCheckpoint, writeCheckpoint } from "./checkpoints.js";

const asIs = (progress: unknown) => progress;

function checkpoint(step: number): Checkpoint {
  const values = (x: number) => new Map([["model.layers.0.self_attn.q_proj.lora_A.weight", f32([1, 2], [x, step])]]);
  const slots = new Map(Object.entries({ first_moments: values(1e-20), second_moments: values(-0) }));
  const state = { step, parameters: values(0.1), slots };
  return { step, state, progress: { bestEvalLoss: 1.5 } };
}

async function run(steps: number, keepLast = 3) {
  const files = memoryFiles();
  for (let step = 1; step <= steps; step++) {
    const fill = (folder: string) => files.write(join(folder, "adapter.txt"), `adapter of ${step}`);
    await writeCheckpoint(files, "checkpoints", checkpoint(step), { keepLast, fill });
  }
  const notes: string[] = [];
  return { files, notes, newest: () => readNewestCheckpoint(files, "checkpoints", asIs, (n) => notes.push(n)) };
}

it("gives back what it wrote, bit for bit, and keeps the newest few", async () => {
  const { files, notes, newest } = await run(12, 2);
  expect(await newest()).toEqual({ ...checkpoint(12), path: "checkpoints/step-12" });
  expect(await checkpointSteps(files, "checkpoints")).toEqual([12, 11]);
  expect(notes).toEqual([]);
});

it("has nothing to give where no checkpoint is", async () => {
  expect(await readNewestCheckpoint(memoryFiles(), "checkpoints", asIs, () => {})).toBeUndefined();
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

/** Other JSON in a checkpoint's trainer_state.json, sealed anew. */
async function forged(files: Files, path: string, change: (json: Record<string, unknown>) => unknown): Promise<void> {
  const read = async (name: string) => JSON.parse(new TextDecoder().decode(await files.read(join(path, name))));
  const state = JSON.stringify(change(await read("trainer_state.json"))) ?? "";
  await files.write(join(path, "trainer_state.json"), state);
  const seal = await read("complete.json");
  seal.sha256["trainer_state.json"] = await files.sha256(join(path, "trainer_state.json"));
  await files.write(join(path, "complete.json"), JSON.stringify(seal));
}

it("a checkpoint that says what cannot be is passed over, whatever it says, and the file and key are named", async () => {
  const { files, notes, newest } = await run(2);
  const wrong = fc.jsonValue({ maxDepth: 2 });
  const change = fc.oneof(
    fc
      .tuple(fc.constantFrom("step", "applied_steps"), wrong)
      .filter(([, value]) => ![0, 1, 2].includes(value as number)),
    fc.tuple(fc.constant(""), wrong).filter(([, value]) => (value as { step?: unknown } | null)?.step !== 2),
  );
  const original = await files.read("checkpoints/step-2/trainer_state.json");
  await fc.assert(
    fc.asyncProperty(change, async ([key, value]) => {
      await forged(files, "checkpoints/step-2", (json) => (key === "" ? value : { ...json, [key]: value }));
      expect((await newest())?.step).toBe(1);
      expect(notes.pop()).toMatch(/step-2 is damaged and passed over: checkpoints\/step-2\/trainer_state.json: /);
      await files.write("checkpoints/step-2/trainer_state.json", original);
    }),
    { seed: 3, numRuns: 200 },
  );
});

it("a seal that is no list of checksums is passed over", async () => {
  const { files, notes, newest } = await run(2);
  const json = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.record({ sha256: fc.jsonValue({ maxDepth: 1 }) }));
  await fc.assert(
    fc.asyncProperty(json, async (seal) => {
      await files.write("checkpoints/step-2/complete.json", JSON.stringify(seal));
      expect((await newest())?.step).toBe(1);
      expect(notes.pop()).toContain("step-2 is damaged and passed over: ");
    }),
    { seed: 3, numRuns: 200 },
  );
});

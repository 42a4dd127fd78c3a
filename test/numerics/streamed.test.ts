import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { StreamedRun, streamedLogits } from "../../src/export/streamed-run.js";
import { readAdapter } from "../../src/formats/peft/adapter.js";
import { nodeFiles } from "../../src/node/files.js";
import { openModel } from "../../src/weights/model-folder.js";
import { familyFolder } from "../recipes/family-folder.js";
import { cpuDevice } from "./evaluate.js";
import { CASES, readCase, relativeError } from "./vectors.js";

// The plain-number model that exports are held against: as good a second opinion as it is close to PyTorch + PEFT itself.
const folder = mkdtempSync(join(tmpdir(), "lowrank-streamed-"));
const device = await cpuDevice();
afterAll(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true, force: true });
});

it.each(CASES)(
  "streamed, %s: base, adapters beside it and adapters merged give PyTorch + PEFT's logits",
  async (name) => {
    const { rows, expected, folder: vectors } = readCase(name);
    const model = await openModel(nodeFiles, familyFolder(folder, name));
    const [qv, all] = await Promise.all(
      ["qv", "all"].map((adapter) => readAdapter(nodeFiles, join(vectors, adapter), model.config)),
    );
    const runs = [
      ["base", [{ of: model }]],
      [
        "qv",
        [
          { of: model, beside: qv! },
          { of: model, merged: qv! },
        ],
      ],
      [
        "all",
        [
          { of: model, beside: all! },
          { of: model, merged: all! },
        ],
      ],
    ] as const;
    for (const [variant, tracks] of runs)
      for (const row of [1, 3])
        for (const logits of await streamedLogits(device, tracks, [...rows[row]!.ids])) {
          const reference = expected.get(`${variant}.logits.${row}`)!.data as Float32Array;
          expect(relativeError(logits, reference), `${variant}, row ${row}`).toBeLessThan(1e-5);
        }
    const tracks = [{ of: model }, { of: model, beside: all! }];
    const ids = [...rows[1]!.ids];
    const half = Math.ceil(ids.length / 2);
    const run = new StreamedRun(device, tracks);
    await run.logits([...ids.slice(0, half), ...ids.slice(half).map(() => 5)]);
    const behind = await run.logits(ids.slice(half), { first: half, rows: 2 });
    run.dispose();
    for (const [i, whole] of (await streamedLogits(device, tracks, ids)).entries())
      expect(relativeError(behind[i]!, whole.subarray(-behind[i]!.length)), "behind a text").toBeLessThan(1e-6);
    await model.close();
  },
);

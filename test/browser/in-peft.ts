import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./chromium.js";

/** Tensors by name: shape, and SHA-256 of their values as little-endian float32. */
export type Digests = Readonly<Record<string, readonly [shape: readonly number[], sha256: string]>>;

/** What an adapter's file holds. Throws for a tensor that is not float32, or is nothing but zeros. */
export function tensorsIn(path: string): Digests {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...tensors } = JSON.parse(bytes.subarray(8, start).toString());
  return Object.fromEntries(
    Object.entries(tensors as Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>).map(
      ([name, { dtype, shape, data_offsets: offsets }]) => {
        const values = bytes.subarray(start + offsets[0], start + offsets[1]);
        if (dtype !== "F32" || !values.some((byte) => byte !== 0)) throw new Error(`${name}: ${dtype}, or zeros alone`);
        return [name, [shape, createHash("sha256").update(values).digest("hex")] as const];
      },
    ),
  );
}

/** The same as PEFT has it in its model, with the Python of LOWRANK_PYTHON, else python3; undefined, and why is printed, without PEFT. */
export function readInPeft(base: string, adapter: string): Digests | undefined {
  const python = process.env.LOWRANK_PYTHON ?? "python3";
  if (spawnSync(python, ["-c", "import torch, transformers, peft"]).status !== 0)
    return void console.log(
      `PEFT is not tried: ${python} has not torch, transformers and peft (another one: LOWRANK_PYTHON)`,
    );
  const script = join(ROOT, "test/browser/read_in_peft.py");
  const done = spawnSync(python, ["-B", script, base, adapter], { encoding: "utf8", maxBuffer: 2 ** 28 });
  if (done.status !== 0) throw new Error(done.stderr || String(done.error));
  return JSON.parse(done.stdout.trim().split("\n").at(-1)!);
}

import { basename } from "node:path";
import { startEngine } from "../node/engine.js";
import { readText } from "../node/read-text.js";
import { BENCH_SHAPES, benchmark, type Workload } from "../recipes/bench.js";
import { resolveTargets } from "../recipes/targets.js";
import { UserError } from "../tensor/errors.js";
import { BASE_PRECISIONS } from "../weights/base-precision.js";
import { type Action, EXIT } from "./io.js";
import { choiceOption, numberOption } from "./option-values.js";
import { usageError } from "./usage.js";

/** PyTorch's names of what the products of a step are computed in. */
const PRECISIONS: Readonly<Record<string, "f32" | "bf16">> = { float32: "f32", bfloat16: "bf16" };

export const bench: Action = async (_args, options, io) => {
  const shape = options.shape as string;
  const model = BENCH_SHAPES[shape];
  if (!model) throw usageError(`--shape: expected one of ${Object.keys(BENCH_SHAPES).join(", ")}`);
  const precision = PRECISIONS[options.dtype as string];
  if (!precision) throw usageError(`--dtype: expected one of ${Object.keys(PRECISIONS).join(", ")}`);
  const workload = await readWorkload(options.workload as string);
  const r = numberOption(options, "rank", { least: 1, whole: true });
  const { targetModules } = resolveTargets({ targetModules: (options.targets as string).split(",") }, model);
  const threads = numberOption(options, "threads", { most: 1024, whole: true });
  const steps = numberOption(options, "steps", { whole: true });
  const basePrecision = choiceOption(options, "basePrecision", BASE_PRECISIONS);
  const bnb4bitUseDoubleQuant = options.bnb4bitUseDoubleQuant === true;
  const checkpointing = options.checkpointing === true;
  const device = await startEngine({ threads, precision });
  try {
    const lora = { r, alpha: 2 * r, dropout: 0, useRslora: false, init: "gaussian", targetModules } as const;
    const now = () => performance.now();
    const measured = await benchmark(device, workload, {
      shape,
      lora,
      checkpointing,
      basePrecision,
      bnb4bitUseDoubleQuant,
      steps,
      now,
    });
    const result = {
      system: "lowrank",
      workload: workload.name,
      shape,
      dtype: options.dtype,
      base_precision: basePrecision,
      ...(bnb4bitUseDoubleQuant ? { bnb_4bit_use_double_quant: true } : {}),
      rank: r,
      targets: options.targets,
      checkpointing,
      ...measured,
    };
    if (options.json) io.out(`${JSON.stringify(result)}\n`);
    else
      io.out(
        Object.entries(result)
          .map(([key, value]) => `${key.padEnd(24)}${value}\n`)
          .join(""),
      );
    return EXIT.ok;
  } finally {
    await device.dispose();
  }
};

/** Bytes of a workload. */
const LARGEST_WORKLOAD = 64e6;

async function readWorkload(path: string): Promise<Workload> {
  let value: Partial<Workload>;
  try {
    value = JSON.parse(await readText(path, LARGEST_WORKLOAD)) as Partial<Workload>;
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${path}: cannot be read as a workload: ${(error as Error).message}`);
  }
  const { name = basename(path, ".json"), seed = 0, batch_size, rows } = value;
  const isLength = (n: unknown) => Number.isInteger(n) && (n as number) >= 0;
  const isRow = (row: unknown) => Array.isArray(row) && row.length === 2 && row.every(isLength) && row[1] > 0;
  if (Number.isInteger(batch_size) && batch_size! > 0 && Array.isArray(rows) && rows.length > 0 && rows.every(isRow)) {
    return { name, seed, batch_size: batch_size!, rows };
  }
  throw new UserError(
    `${path}: expected {"name", "seed", "batch_size", "rows": [[prompt, completion], ...]} in tokens`,
  );
}

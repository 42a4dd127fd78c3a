import { describe, expect, it } from "vitest";
import { weightShapes } from "../../src/models/index.js";
import { type Evaluate, inFloat64, onCpu } from "./evaluate.js";
import {
  CASES,
  expectedUnder,
  type ReferenceCase,
  readAdapterOf,
  readCase,
  relativeError,
  VARIANTS,
  type VariantName,
  worstError,
} from "./vectors.js";
import { rowInputs, targets, wholeModel } from "./whole-model.js";

/** The interpreter shares PyTorch's float64, so only the stored fp32 rounding and the fp32 rotary tables are left. */
const ENGINES: readonly { name: string; evaluate: Evaluate; tolerance: number; rows: number[] }[] = [
  { name: "float64 interpreter", evaluate: inFloat64, tolerance: 3e-6, rows: [0, 1, 2, 3, 4] },
  { name: "ONNX Runtime, fp32", evaluate: onCpu, tolerance: 1e-5, rows: [0, 1, 2, 3, 4] },
];

describe.each(ENGINES)("the model functions on the $name equal PyTorch + PEFT", ({ evaluate, tolerance }) => {
  describe.each(CASES)("%s", (name) => {
    const reference = readCase(name);
    it.each(VARIANTS)("%s: whole logits, loss, every gradient", async (variant) => {
      const { logits, loss, gradients } = await measure(evaluate, reference, variant);
      const stored = variant === "full" ? "base" : variant;
      logits.forEach((row, i) => {
        expect(relativeError(row, reference.expected.get(`${stored}.logits.${i}`)!.data as Float32Array)).toBeLessThan(
          tolerance,
        );
      });
      expect(Math.abs(loss / reference.variants[stored].loss_mean - 1)).toBeLessThan(tolerance);
      if (variant === "base") return;
      const worst = worstError(gradients, expectedUnder(reference, `${variant}.grad.`));
      expect(worst.error, worst.name).toBeLessThan(tolerance);
    });
  });

  it("the adapters change the logits, so their tests cannot pass without them", () => {
    for (const { expected } of CASES.map(readCase)) {
      for (const adapter of ["qv", "all"]) {
        const [adapted, base] = [adapter, "base"].map((v) => expected.get(`${v}.logits.0`)!.data as Float32Array);
        expect(relativeError(adapted!, base!)).toBeGreaterThan(0.05);
      }
    }
  });
});

/** Runs every row alone and adds the gradients of the mean loss over all rows. */
async function measure(evaluate: Evaluate, reference: ReferenceCase, variant: VariantName) {
  const { config, rows, weights } = reference;
  const adapter = variant === "qv" || variant === "all" ? readAdapterOf(reference, variant) : undefined;
  const wrt = variant === "full" ? [...weightShapes(config).keys()] : [...(adapter?.tensors.keys() ?? [])];
  const total = rows.reduce((n, row) => n + targets(row).length, 0);
  const logits: ArrayLike<number>[] = [];
  const gradients = new Map<string, Float64Array>();
  let loss = 0;
  for (const row of rows) {
    const f = wholeModel(config, row.ids.length, targets(row).length, { lora: adapter?.lora, wrt });
    const results = await evaluate(
      f,
      new Map([...weights, ...(adapter?.tensors ?? []), ...rowInputs(config, row, total)]),
    );
    logits.push(results.get("logits")!);
    loss += results.get("loss")![0]!;
    for (const [output, value] of results) {
      const name = gradientName(output, variant, row.index);
      // Granite's embedding is scaled behind the layer whose output the reference looked at.
      const scale = output === "d_embeds" && config.family === "granite" ? config.embeddingScale! : 1;
      if (name) addTo(gradients, name, value, scale);
    }
  }
  return { logits, loss, gradients };
}

/** The stored gradient that an output is (a part of). */
function gradientName(output: string, variant: VariantName, row: number): string | undefined {
  if (!output.startsWith("d_")) return undefined;
  if (output === "d_embeds") return variant === "full" || variant === "base" ? undefined : `inputs_embeds.${row}`;
  return output === "d_tied_head" ? "model.embed_tokens.weight" : output.slice(2);
}

function addTo(sums: Map<string, Float64Array>, name: string, value: ArrayLike<number>, scale: number): void {
  const sum = sums.get(name);
  if (!sum)
    sums.set(
      name,
      Float64Array.from(value, (x) => x * scale),
    );
  else for (let i = 0; i < sum.length; i++) sum[i]! += scale * value[i]!;
}

import { type Fn, gradient } from "../../src/graph/index.js";
import type { ModelConfig } from "../../src/models/index.js";
import * as models from "../../src/models/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { f32 } from "../../src/tensor/index.js";
import { createOptimizer } from "../../src/training/optimizers/index.js";
import { ADAPTED, valuesFor } from "./models.js";
import type { Evaluate, Tensors } from "./run.js";

const N = 7;
const ROWS = 3;

/**
 * One training step layer by layer, as the trainer queues it: embedding, two blocks forward, head and loss, both blocks
 * backward, AdamW on one adapter weight. Returns the loss, every adapter's gradient and the updated weight.
 */
export async function trainingStep(config: ModelConfig, evaluate: Evaluate): Promise<Tensors> {
  const partsOf = (kind: models.LayerKind) =>
    [
      models.attentionInput(config, N, ADAPTED, kind),
      models.selfAttention(config, N, kind),
      models.attentionOutput(config, N, ADAPTED),
    ].map((f) => {
      const adapters = Object.keys(f.inputs).filter((name) => name.includes("lora_"));
      const carried = ["x", "q", "k", "v", "o"].filter((name) => name in f.inputs);
      return { weights: valuesFor(f, config), adapters, ...gradient(f, [...carried, ...adapters], "cheap") };
    });
  type Part = ReturnType<typeof partsOf>[number];
  const start = await evaluate(models.embed(config, N), valuesFor(models.embed(config, N), config));
  const tape: { part: Part; layer: number; values: Tensors }[] = [];
  let x = start.x!;
  for (let layer = 0; layer < 2; layer++) {
    let flowing: Tensors = { x };
    for (const part of partsOf(models.layerKind(config, layer))) {
      const inputs = declared(part.forward, { ...part.weights, ...flowing });
      const results = await evaluate(part.forward, inputs);
      tape.push({ part, layer, values: { ...inputs, ...results } });
      flowing = { ...flowing, ...results };
    }
    x = flowing.y!;
  }
  const head = models.lossHead(config, N, ROWS);
  const { loss, d_rows } = await evaluate(head, { ...valuesFor(head, config), x });
  const scatter = models.scatterRows(config.hiddenSize, N, ROWS);
  const { d_x } = await evaluate(scatter, { ...valuesFor(scatter, config), d_rows: d_rows! });
  return { loss: loss!, ...(await backward(tape, d_x!, evaluate)) };
}

/** The tensors in the shapes that the function declares: heads are a dimension to one and columns to another. */
function declared(f: Fn, tensors: Tensors): Tensors {
  const entries = Object.entries(tensors).map(([name, x]) => [name, { ...x, shape: f.inputs[name]?.shape ?? x.shape }]);
  return Object.fromEntries(entries);
}

async function backward(
  tape: readonly {
    part: { backward: ReturnType<typeof gradient>["backward"]; adapters: readonly string[] };
    layer: number;
    values: Tensors;
  }[],
  dLast: HostTensor,
  evaluate: Evaluate,
): Promise<Tensors> {
  const found: Record<string, HostTensor> = {};
  let flowing: Record<string, HostTensor> = { d_y: dLast };
  for (const { part, layer, values } of [...tape].reverse()) {
    const results = await evaluate(part.backward, declared(part.backward, { ...values, ...flowing }));
    for (const name of part.adapters) found[`layer ${layer} ${name}`] = results[`d_${name}`]!;
    const residual = flowing.d_x;
    flowing = { ...flowing, ...results };
    if (part.backward.name === "attention_input_backward") {
      const sum = (results.d_x!.data as Float32Array).map((g, i) => g + (residual!.data[i] as number));
      flowing = { d_y: { ...results.d_x!, data: sum } };
    }
  }
  const name = Object.keys(found).find((key) => /^layer 0 q(kv)?_proj\.lora_A/.test(key))!;
  return { ...found, d_x: flowing.d_y!, "updated weight": await update(found[name]!, evaluate) };
}

async function update(grad: HostTensor, evaluate: Evaluate): Promise<HostTensor> {
  const n = grad.data.length;
  const optimizer = createOptimizer({ name: "adamw", betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 });
  const scalars = Object.entries({ clip: 0.5, ...optimizer.scalars(1e-3, 1) }).map(([key, x]) => [key, f32([1], [x])]);
  const flat = (data: Float32Array) => f32([n], data);
  const inputs = {
    ...Object.fromEntries(scalars),
    param: flat(new Float32Array(n).fill(0.5)),
    grad: flat(grad.data as Float32Array),
    first_moments: flat(new Float32Array(n)),
    second_moments: flat(new Float32Array(n)),
  };
  return (await evaluate(optimizer.step([n]), inputs)).new_param!;
}

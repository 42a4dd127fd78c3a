import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { scaleGate } from "../../export/gates.js";
import { LINEARS, linearShape, type ModelConfig } from "../../models/config.js";
import { type LoraConfig, loraScale, modulePath } from "../../models/lora-config.js";
import { nodeFiles } from "../../node/files.js";
import { f32, type HostTensor, random } from "../../tensor/index.js";
import { configFromHf } from "../hf/config.js";
import { type JsonObject, jsonBytes, parseObject } from "../json.js";
import { memoryFiles } from "../memory-files.js";
import { openSafetensors } from "../safetensors.js";
import { hostTensor, writeSafetensors } from "../safetensors-writer.js";
import { type Adapter, adaptedModules, adapterShapes } from "./adapter.js";
import { readMlxAdapter, writeMlxAdapter } from "./mlx.js";

let model: ModelConfig;
beforeAll(async () => {
  const path = fileURLToPath(new URL("../../../models/tiny/config.json", import.meta.url));
  model = configFromHf(parseObject(path, await nodeFiles.read(path)), path);
});

const CONFIG = {
  fine_tune_type: "lora",
  num_layers: 2,
  lora_parameters: { rank: 3, scale: 10, dropout: 0.1, keys: ["self_attn.q_proj", "mlp.down_proj"] },
  model: "org/base",
};

/** A folder as mlx-lm writes it: the last two layers, lora_a [in, r], lora_b [r, out]. */
async function mlx(
  change: { config?: JsonObject; tensor?: (name: string, tensor: HostTensor) => [string, HostTensor] } = {},
) {
  const files = memoryFiles({ "m/adapter_config.json": jsonBytes({ ...CONFIG, ...change.config }) });
  const rng = random(2, "mlx");
  const tensors = new Map<string, HostTensor>();
  const draw = (shape: [number, number]) =>
    f32(
      shape,
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => rng.normal()),
    );
  for (const layer of [1, 2]) {
    for (const linear of ["q_proj", "down_proj"] as const) {
      const [out, into] = linearShape(model, linear);
      for (const [factor, shape] of [
        ["a", [into, 3]],
        ["b", [3, out]],
      ] as const) {
        const name = `model.layers.${layer}.${LINEARS[linear]}.lora_${factor}`;
        const [key, value] = (change.tensor ?? ((n, t) => [n, t]))(name, draw([...shape]));
        tensors.set(key, value);
      }
    }
  }
  await writeSafetensors(
    files,
    "m/adapters.safetensors",
    [...tensors].map(([name, tensor]) => hostTensor(name, tensor)),
  );
  return { files, tensors };
}

/** An adapter of the last two layers whose ranks and scales differ from module to module. */
function uneven(): Adapter {
  const config: LoraConfig = {
    r: 4,
    alpha: 12,
    dropout: 0.1,
    useRslora: false,
    init: "gaussian",
    targetModules: ["q_proj", "down_proj"],
    layersToTransform: [1, 2],
    rankPattern: { "layers.1.mlp.down_proj": 2 },
    alphaPattern: { "layers.2.self_attn.q_proj": 20 },
  };
  const rng = random(5, "uneven");
  const tensors = [...adapterShapes(config, model)].map(([name, shape]) => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => rng.normal());
    return [name, f32(shape, values)] as const;
  });
  return { config, tensors: new Map(tensors), base: { name: "org/base" } };
}

describe("mlx-lm adapters", () => {
  test("scale B A x is scale (x a) b, layer for layer", async () => {
    const { files, tensors } = await mlx();
    const { config, tensors: found, base } = await readMlxAdapter(files, "m", model);
    expect(config).toMatchObject({
      r: 3,
      alpha: 30,
      dropout: 0.1,
      useRslora: false,
      targetModules: ["q_proj", "down_proj"],
      layersToTransform: [1, 2],
    });
    expect(base.name).toBe("org/base");
    const module = "model.layers.2.mlp.down_proj";
    const [out, into] = linearShape(model, "down_proj");
    const at = (map: ReadonlyMap<string, HostTensor>, name: string) => map.get(module + name)!.data as Float32Array;
    for (const [o, i] of [
      [0, 0],
      [5, 300],
      [out - 1, into - 1],
    ] as const) {
      let [theirs, ours] = [0, 0];
      for (let k = 0; k < 3; k++) {
        theirs += 10 * at(tensors, ".lora_a")[i * 3 + k]! * at(tensors, ".lora_b")[k * out + o]!;
        ours +=
          loraScale(config) * at(found, ".lora_B.weight")[o * 3 + k]! * at(found, ".lora_A.weight")[k * into + i]!;
      }
      expect(ours).toBe(theirs);
    }
  });

  test("written, it has mlx-lm's one rank and one scale, and comes back as it was", async () => {
    const before = uneven();
    const files = memoryFiles({});
    await writeMlxAdapter(files, "out", before, model, { type: "f32" });
    const json = parseObject("out", await files.read("out/adapter_config.json"));
    expect(json).toEqual({
      model: "org/base",
      fine_tune_type: "lora",
      num_layers: 2,
      lora_parameters: { rank: 4, scale: 3, dropout: 0.1, keys: ["self_attn.q_proj", "mlp.down_proj"] },
    });
    const { tensors, close } = await openSafetensors(files, "out/adapters.safetensors");
    await close();
    expect(tensors.get("model.layers.1.mlp.down_proj.lora_a")!.shape).toEqual([352, 4]);
    expect(tensors.get("model.layers.1.mlp.down_proj.lora_b")!.shape).toEqual([4, 128]);
    const after = await readMlxAdapter(files, "out", model);
    const ranks = (adapter: Adapter) =>
      adaptedModules(adapter)
        .map(({ layer, name, r }) => `${layer} ${name}: ${r}`)
        .sort();
    expect(ranks(after)).toEqual(ranks(before));
    scaleGate(before, after, "f32");
  });

  test("DoRA's magnitudes go along, in fp32", async () => {
    const lora = uneven();
    const before = { ...lora, config: { ...lora.config, kind: "dora" as const }, tensors: new Map(lora.tensors) };
    for (const { layer, name, out } of adaptedModules(lora)) {
      const m = Float32Array.from({ length: out }, (_, i) => 1 + i / out);
      before.tensors.set(`${modulePath(layer, name)}.lora_magnitude_vector`, f32([out], m));
    }
    const files = memoryFiles({});
    await writeMlxAdapter(files, "out", before, model, { type: "bf16" });
    expect(parseObject("out", await files.read("out/adapter_config.json")).fine_tune_type).toBe("dora");
    const after = await readMlxAdapter(files, "out", model);
    expect(after.config.kind).toBe("dora");
    for (const [name, tensor] of before.tensors)
      if (name.endsWith("vector")) expect(after.tensors.get(name)).toEqual(tensor);
    scaleGate(before, after, "bf16");
  });

  test("of a base that also sees, the names are those of its texts' part, and are read back", async () => {
    const files = memoryFiles({});
    await writeMlxAdapter(files, "out", uneven(), model, { type: "bf16", inWhole: true });
    const { tensors, close } = await openSafetensors(files, "out/adapters.safetensors");
    await close();
    expect([...tensors.keys()].every((name) => name.startsWith("language_model.model.layers."))).toBe(true);
    scaleGate(uneven(), await readMlxAdapter(files, "out", model), "bf16");
  });

  test.each<[string, Parameters<typeof mlx>[0], string]>([
    ["DoRA without its magnitudes", { config: { fine_tune_type: "dora" } }, "has no lora_magnitude_vector beside it"],
    ["whole weights", { config: { fine_tune_type: "full" } }, "mlx_lm.fuse"],
    [
      "no scale",
      { config: { lora_parameters: { rank: 3 } } },
      "lora_parameters.scale must be a number above 0, got nothing",
    ],
    [
      "LoRA with magnitudes",
      { tensor: (n, t) => [n.replace(".lora_a", ".m"), t] },
      "is none of a linear layer's lora_a, lora_b;",
    ],
    [
      "an embedding",
      { tensor: (n, t) => [n.replace(/layers.1.mlp.down_proj/, "embed_tokens"), t] },
      "is none of a linear layer's",
    ],
    [
      "a factor alone",
      { tensor: (n, t) => [n.replace("layers.1.mlp.down_proj.lora_b", "layers.0.mlp.down_proj.lora_b"), t] },
      "beside it",
    ],
    [
      "another base",
      { tensor: (n, t) => [n, n.endsWith("1.mlp.down_proj.lora_a") ? f32([9, 3], new Float32Array(27)) : t] },
      "is this another base?",
    ],
  ])("%s is refused by name", async (_name, change, message) => {
    const { files } = await mlx(change);
    await expect(readMlxAdapter(files, "m", model)).rejects.toThrow(message);
  });
});

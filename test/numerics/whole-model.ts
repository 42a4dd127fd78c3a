// Joins the model functions into one graph from token ids to loss and gradients, for comparison with the reference.
import type { Sample } from "../../src/data/sample.js";
import {
  causalMask,
  define,
  type Fn,
  input,
  reshape,
  type Spec,
  scatterAdd,
  substitute,
  type Value,
  vjp,
} from "../../src/graph/index.js";
import { scaled } from "../../src/models/graph-ops.js";
import {
  attentionInput,
  attentionOutput,
  blockLora,
  embed,
  type LayerKind,
  type LoraConfig,
  layerKind,
  logitsOf,
  lossHead,
  type ModelConfig,
  outerNames,
  ropeNames,
  ropeTables,
  rotaryPairs,
  rotationNames,
  selfAttention,
  weightName,
} from "../../src/models/index.js";
import { f32, type HostTensor } from "../../src/tensor/index.js";

/** Calls a function inside another graph: its inputs become the given values, in the shapes that it declares. */
function call(f: Fn, args: (name: string, spec: Spec) => Value): Record<string, Value> {
  const replaced = new Map(
    Object.entries(f.inputs).map(([name, v]) => {
      const given = args(name, v);
      return [v, `${given.shape}` === `${v.shape}` ? given : reshape(given, v.shape)];
    }),
  );
  const outputs = substitute(Object.values(f.outputs), replaced);
  return Object.fromEntries(Object.keys(f.outputs).map((name, i) => [name, outputs[i]!]));
}

/**
 * One row alone: inputs are ids [t], cos, sin, mask (and `cos_local`, `mask 4`, ... by kinds of layers), rows, labels, weights and every weight by checkpoint name. Outputs:
 * `logits` [t, V], `loss` [1], `d_embeds` [t, D] when `embeds`, and `d_NAME` for each name in `wrt`.
 */
export function wholeModel(
  config: ModelConfig,
  t: number,
  m: number,
  { lora, wrt = [] }: { lora?: LoraConfig | undefined; wrt?: readonly string[] } = {},
): Fn {
  const { numHiddenLayers, tieWordEmbeddings } = config;
  const outer = outerNames(config);
  return define("whole_model", (declare) => {
    const weight = (name: string, spec: Spec) => declare(name, spec.shape, spec.dtype);
    const outerArg = (given: Record<string, Value>) => (name: string, spec: Spec) =>
      given[name] ?? weight(outer[name] ?? name, spec);

    const embeds = call(embed(config, t), outerArg({})).x!;
    // gradients start from an input of their own, so that the embedding's gradient is seen apart from the head's
    const start = input("embeds", embeds);
    let x = start;
    const half = rotaryPairs(config);
    const tables = ropeNames(config).map((name) => {
      const [cos, sin] = rotationNames(name);
      return [name, { cos: declare(cos, [t, half]), sin: declare(sin, [t, half]) }] as const;
    });
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      const adaptation = { lora: lora && blockLora(lora, layer) };
      const args = (given: Record<string, Value>) => (name: string, spec: Spec) =>
        given[name] ?? weight(weightName(name, layer), spec);
      const kind = layerKind(config, layer);
      const turned = tables.find(([name]) => name === kind.rope)?.[1];
      const qkv = call(attentionInput(config, t, adaptation, kind), args({ x, ...turned }));
      const mask = declare(maskName(kind), [t, t]);
      const { o } = call(selfAttention(config, t, kind), outerArg({ ...qkv, mask }));
      x = call(attentionOutput(config, t, adaptation), args({ x, o: o! })).y!;
    }
    const full = wrt.includes(outer["norm.weight"]!);
    const head = call(lossHead(config, t, m, { weightGradients: { norm: full, head: full } }), outerArg({ x }));
    const rows = declare("rows", [m], "i64");
    const dx = scatterAdd(rows, head.d_rows!, t);

    const inner = wrt.filter((name) => name.startsWith("model.layers."));
    const targets = inner.map((name) => declare(name, []));
    const grads = vjp([[x, dx]], [...targets, start]);
    const outputs: Record<string, Value> = {
      loss: head.loss!,
      logits: logitsOf((name) => declare(outer[name]!, []), config, x),
      d_embeds: grads.get(start)!,
    };
    inner.forEach((name, i) => {
      outputs[`d_${name}`] = grads.get(targets[i]!)!;
    });
    if (full) {
      const dEmbeds = scaled(grads.get(start)!, config.embeddingScale ?? 1);
      const scattered = scatterAdd(declare("ids", [t], "i64"), dEmbeds, config.vocabSize);
      outputs["d_model.norm.weight"] = head["d_norm.weight"]!;
      outputs["d_model.embed_tokens.weight"] = scattered;
      outputs[tieWordEmbeddings ? "d_tied_head" : "d_lm_head.weight"] = head["d_lm_head.weight"]!;
    }
    const names = Object.keys(outputs);
    const joined = substitute(Object.values(outputs), new Map([[start, embeds]]));
    return Object.fromEntries(names.map((name, i) => [name, joined[i]!]));
  });
}

/** The input that is the mask of a layer: each window has its own. */
const maskName = ({ window }: LayerKind): string => (window === undefined ? "mask" : `mask ${window}`);

/** The positions that a row is supervised at. */
export const targets = ({ supervised }: Sample): number[] => [...supervised.keys()].filter((i) => supervised[i]);

/** What `wholeModel` takes beside weights for a row, of `total` supervised tokens in all rows. */
export function rowInputs(config: ModelConfig, row: Sample, total: number): [string, HostTensor][] {
  const t = row.ids.length;
  const positions = targets(row);
  const m = positions.length;
  const i64 = (values: readonly number[]): HostTensor => ({
    dtype: "i64",
    shape: [values.length],
    data: BigInt64Array.from(values, BigInt),
  });
  return [
    ["ids", i64([...row.ids])],
    ...ropeNames(config).flatMap((name): [string, HostTensor][] => {
      const { cos, sin } = ropeTables(config, t, { rope: name });
      const [cosName, sinName] = rotationNames(name);
      return [
        [cosName, cos],
        [sinName, sin],
      ];
    }),
    ...[...Array(config.numHiddenLayers).keys()].map((layer): [string, HostTensor] => {
      const kind = layerKind(config, layer);
      return [maskName(kind), f32([t, t], causalMask(t, kind.window))];
    }),
    ["rows", i64(positions.map((i) => i - 1))],
    ["labels", i64(positions.map((i) => row.ids[i]!))],
    ["weights", f32([m], new Float32Array(m).fill(1 / total))],
  ];
}

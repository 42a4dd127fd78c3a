import { foldedBias, foldedWeight, kindOf, vectorsOf, weightNorms } from "../adapters/index.js";
import { refuseLostBiases } from "../export/merge.js";
import { wholeKeys } from "../formats/peft/adapter.js";
import { adapterSite, allTargets, linearLora, weightName } from "../models/index.js";
import { type Program, tensor, type View } from "../runtime/index.js";
import { UserError } from "../tensor/index.js";
import type { LoadedAdapter, LoadedModel } from "./model.js";
import { refuseStages } from "./model-stages.js";

/** An adapter in a model's weights, and what is needed to take it out: norms that its kind asks for, as they were before. */
interface Folded {
  readonly adapter: LoadedAdapter;
  readonly norms: Norms;
}

type Norms = Map<string, View>;

/** What is folded into which model's weights. */
const folded = new WeakMap<LoadedModel, Folded>();

/**
 * Merges an adapter into the resident weights (LoRA: W += scale B A), so that it costs nothing while decoding; `unmergeAdapter` takes
 * it out again. Throws UserError when another adapter is merged already. Nothing on disk changes.
 */
export async function mergeAdapter(model: LoadedModel, adapter: LoadedAdapter): Promise<void> {
  refuseStages(model, "an adapter is merged into all of it");
  const other = folded.get(model);
  if (other) throw new UserError(`${model.name}: ${other.adapter.path} is merged already; unmerge it first`);
  if (model.resident.bits) {
    throw new UserError(
      `${model.name} was quantized to ${model.resident.bits} bits, which cannot hold an adapter's small changes: use the adapter unmerged`,
    );
  }
  if (model.basePrecision !== "f32") {
    throw new UserError(
      `${model.name} is held as ${model.basePrecision}, which cannot hold an adapter's small changes: use the adapter unmerged, or load the base as f32`,
    );
  }
  const whole = wholeKeys(adapter.adapter.config);
  if (whole)
    throw new UserError(
      `${adapter.path} holds weights of its own (${whole}), in whose place the base's could not be put again: use it unmerged, or merge it into a folder`,
    );
  refuseLostBiases(adapter.adapter, model.resident.config);
  refuseLostRows(model, adapter);
  const norms: Norms = new Map();
  await fold(model, { adapter, norms }, 1);
  folded.set(model, { adapter, norms });
}

/** Takes the merged adapter out: the weights are the base's again, up to rounding (about 1e-7 of a weight). */
export async function unmergeAdapter(model: LoadedModel): Promise<void> {
  const there = folded.get(model);
  if (!there) throw new UserError(`${model.name}: no adapter is merged`);
  await fold(model, there, -1);
  for (const { buffer } of there.norms.values()) model.resident.device.free(buffer);
  folded.delete(model);
}

/** Throws UserError for a row that merging would make zero: it could not be taken out again. */
function refuseLostRows({ name }: LoadedModel, { path, adapter }: LoadedAdapter): void {
  const { startsAtNorms } = kindOf(adapter.config.kind);
  if (!startsAtNorms) return;
  for (const [key, { data }] of adapter.tensors)
    if (key.endsWith(`.${startsAtNorms}`) && (data as Float32Array).includes(0))
      throw new UserError(
        `${name}: ${key} of ${path} holds a zero, which makes a row of the weight zero for good: use the adapter unmerged`,
      );
}

async function fold({ resident, decoder }: LoadedModel, { adapter, norms }: Folded, sign: 1 | -1): Promise<void> {
  const { device, config, weights } = resident;
  const programs = new Map<string, Program>();
  const scratch = new Map<string, View>();
  const run = (
    key: string,
    f: ReturnType<typeof foldedWeight>,
    given: (input: string) => View,
    outputs: Record<string, View>,
  ) => {
    const program = programs.get(key) ?? device.compile(f);
    programs.set(key, program);
    device.run(program, Object.fromEntries(program.inputs.map((input) => [input, given(input)])), outputs);
  };
  for (const [layer, name] of allTargets(config)) {
    const lora = linearLora(adapter.adapter.config, layer, name);
    if (!lora) continue;
    const site = adapterSite(config, name, lora);
    const key = weightName(`${name}.weight`, layer);
    const weight = weights.get(key)!;
    const given = (input: string) =>
      input === "weight"
        ? weight
        : input === "weight_norm"
          ? norms.get(key)!
          : adapter.resident.tensors.get(weightName(`${name}.${input}`, layer))!;
    if (sign === 1 && kindOf(site.kind).startsAtNorms) {
      norms.set(key, tensor(device, "f32", [site.out]));
      run(`norms ${JSON.stringify(site)}`, weightNorms("", site), given, { norms: norms.get(key)! });
    }
    if (!scratch.has(name)) scratch.set(name, tensor(device, "f32", weight.shape));
    run(`fold ${JSON.stringify(site)}`, foldedWeight(site, sign), given, { folded: scratch.get(name)! });
    device.copy(scratch.get(name)!, weight);
    if (!vectorsOf(site.kind).includes("bias")) continue;
    const bias = weights.get(weightName(`${name}.bias`, layer))!;
    const folded = scratch.get(`${name} bias`) ?? tensor(device, "f32", bias.shape);
    scratch.set(`${name} bias`, folded);
    const inputs = (input: string) => (input === "layer_bias" ? bias : given(input));
    run(`bias ${JSON.stringify(site)}`, foldedBias(site, sign), inputs, { folded });
    device.copy(folded, bias);
  }
  for (const program of programs.values()) device.release(program);
  for (const { buffer } of scratch.values()) device.free(buffer);
  decoder.weightsChanged();
  await device.flush();
}

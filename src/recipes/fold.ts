import { foldedWeight, linearLora, weightName } from "../models/index.js";
import { type Program, tensor } from "../runtime/index.js";
import { UserError } from "../tensor/index.js";
import type { LoadedAdapter, LoadedModel } from "./model.js";

/** Which adapter is folded into which model's weights. */
const folded = new WeakMap<LoadedModel, LoadedAdapter>();

/**
 * Merges an adapter into the resident weights, W += scale B A, so that it costs nothing while decoding; `unmergeAdapter` takes
 * it out again. Throws UserError when another adapter is merged already. Nothing on disk changes.
 */
export async function mergeAdapter(model: LoadedModel, adapter: LoadedAdapter): Promise<void> {
  const other = folded.get(model);
  if (other) throw new UserError(`${model.name}: ${other.path} is merged already; unmerge it first`);
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
  await fold(model, adapter, 1);
  folded.set(model, adapter);
}

/** Takes the merged adapter out: the weights are the base's again, up to rounding (about 1e-7 of a weight). */
export async function unmergeAdapter(model: LoadedModel): Promise<void> {
  const adapter = folded.get(model);
  if (!adapter) throw new UserError(`${model.name}: no adapter is merged`);
  await fold(model, adapter, -1);
  folded.delete(model);
}

async function fold(
  { resident, decoder }: LoadedModel,
  { resident: adapter }: LoadedAdapter,
  sign: 1 | -1,
): Promise<void> {
  const { device, config, weights } = resident;
  for (const name of adapter.config.targetModules) {
    const shape = weights.get(weightName(`${name}.weight`, 0))!.shape;
    const scratch = tensor(device, "f32", shape);
    const programs = new Map<string, Program>();
    for (let layer = 0; layer < config.numHiddenLayers; layer++) {
      const lora = linearLora(adapter.config, layer, name);
      if (!lora) continue;
      const kind = JSON.stringify(lora);
      const program = programs.get(kind) ?? device.compile(foldedWeight(config, name, lora, sign));
      programs.set(kind, program);
      const weight = weights.get(weightName(`${name}.weight`, layer))!;
      const [a, b] = ["A", "B"].map((side) => adapter.tensors.get(weightName(`${name}.lora_${side}.weight`, layer))!);
      device.run(program, { weight, "lora_A.weight": a!, "lora_B.weight": b! }, { folded: scratch });
      device.copy(scratch, weight);
    }
    for (const program of programs.values()) device.release(program);
    device.free(scratch.buffer);
  }
  decoder.weightsChanged();
  await device.flush();
}

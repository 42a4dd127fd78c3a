import { A, B } from "../adapters/index.js";
import { type Adapter, adaptedModules } from "../formats/peft/adapter.js";
import { modulePath, patternsOf } from "../models/index.js";
import { f32, type HostTensor } from "../tensor/index.js";

/**
 * An adapter that was trained on what is left of the base without its start, as one of the base as it is: of twice the rank, A and the
 * start's A one under the other, B and the start's -B side by side, so that B A - B0 A0 is the product (what PEFT's
 * `path_initial_model_for_weight_conversion` makes). `part`: the start, `start_A` and `start_B`; none: the adapter is that already.
 */
export function onWholeBase(adapter: Adapter, part: ReadonlyMap<string, HostTensor> | undefined): Adapter {
  if (!part || part.size === 0) return adapter;
  const modules = adaptedModules(adapter);
  const tensors = new Map(adapter.tensors);
  for (const { layer, name, a, b, r, out, in: into } of modules) {
    const module = modulePath(layer, name);
    const start = (factor: "A" | "B") => part.get(`${module}.start_${factor}`)!.data as Float32Array;
    const rows = new Float32Array(2 * r * into);
    rows.set(a.data as Float32Array);
    rows.set(start("A"), r * into);
    const [own, first] = [b.data as Float32Array, start("B")];
    const columns = new Float32Array(out * 2 * r);
    for (let o = 0; o < out; o++) {
      columns.set(own.subarray(o * r, (o + 1) * r), o * 2 * r);
      for (let k = 0; k < r; k++) columns[(2 * o + 1) * r + k] = -first[o * r + k]!;
    }
    tensors.set(`${module}.${A}`, f32([2 * r, into], rows)).set(`${module}.${B}`, f32([out, 2 * r], columns));
  }
  const doubled = modules.map(({ layer, name, r, scale }) => ({ layer, name, r: 2 * r, alpha: 2 * r * scale }));
  const { rankPattern: _, alphaPattern: __, ...rest } = adapter.config;
  return { ...adapter, config: { ...rest, ...patternsOf(doubled), useRslora: false, init: "kaiming" }, tensors };
}

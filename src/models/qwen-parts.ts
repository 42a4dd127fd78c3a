import type { LayerKind } from "./config.js";
import type { ConfigKeys } from "./config-keys.js";
import { type CommonShape, layerTypes, type ModelFamily, slidingLayers, windowOf } from "./family.js";

/** A window on the layers from `max_window_layers` on, where `use_sliding_window` says so. */
export function qwenLayers(keys: ConfigKeys, shape: CommonShape): { layers?: readonly LayerKind[] } {
  const from = keys.get("max_window_layers") ?? 28;
  const sliding = slidingLayers(keys, shape, (layer) => layer >= Number(from));
  if (!keys.flag("use_sliding_window") || keys.get("sliding_window") === null) return {};
  const window = keys.size("sliding_window");
  return { layers: sliding.map((has) => (has ? { rope: "global", window } : { rope: "global" })) };
}

/** The keys that say it. */
export function qwenKeys(config: Parameters<ModelFamily["write"]>[0]) {
  const window = windowOf(config);
  const first = config.layers?.findIndex((layer) => layer.window !== undefined) ?? -1;
  return {
    hidden_act: "silu",
    use_sliding_window: window !== null,
    sliding_window: window,
    max_window_layers: first < 0 ? config.numHiddenLayers : first,
    ...(window === null ? {} : { layer_types: layerTypes(config) }),
  };
}

import type { Shape } from "../../tensor/index.js";
import type { Movement } from "../parameters.js";

/**
 * How a tensor moves. LoRA+ (Hayou, Ghosh & Yu 2024, section 4) moves B faster than A: by `ratio`, as PEFT's
 * `create_loraplus_optimizer` does, which gives that rate to vectors too, such as DoRA's magnitudes, and no
 * decay to biases. Default: no ratio, all alike.
 */
export const loraPlus =
  (ratio: number | null | undefined) =>
  (name: string, { length: axes }: Shape): Movement => ({
    rate: name.includes(".lora_B.") || axes === 1 ? (ratio ?? 1) : 1,
    decays: !(ratio && name.endsWith(".bias")),
  });

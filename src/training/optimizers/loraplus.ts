import type { Shape } from "../../tensor/index.js";

/**
 * The multiple of the learning rate that a tensor moves at. LoRA+ (Hayou, Ghosh & Yu 2024, section 4) moves B faster than A: by `ratio`, as PEFT's
 * `create_loraplus_optimizer` does, which gives that rate to vectors too, such as DoRA's magnitudes. Default ratio: 1, all alike.
 */
export const loraPlusRate =
  (ratio: number | null | undefined) =>
  (name: string, { length: axes }: Shape): number =>
    name.includes(".lora_B.") || axes === 1 ? (ratio ?? 1) : 1;

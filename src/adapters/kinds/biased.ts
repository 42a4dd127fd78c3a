import { mul, scalar } from "../../graph/index.js";
import { A, type AdapterKind, B } from "./kind.js";

const BIAS = "lora_B.bias";

/** W + scale B A, and scale times a bias of B's own on what the layer gives (peft/tuners/lora/layer.py, `lora_bias`). */
export const biased = {
  title: "LoRA with biases",
  key: "lora_bias",
  description: "LoRA with a trained bias on B: what an adapted layer gives is shifted too.",
  tensors: ({ out, in: into, r }) => ({ [A]: [r, into], [B]: [out, r], [BIAS]: [out] }),
  update: ({ tensor }, { scale }) => ({ b: tensor(B), alpha: scale, bias: mul(tensor(BIAS), scalar(scale)) }),
} as const satisfies AdapterKind;

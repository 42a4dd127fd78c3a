import { A, type AdapterKind, B } from "./kind.js";

/** W + scale B A (Hu et al. 2021, eq. 3). */
export const lora = {
  title: "LoRA",
  tensors: ({ out, in: into, r }) => ({ [A]: [r, into], [B]: [out, r] }),
  update: ({ tensor }, { scale }) => ({ b: tensor(B), alpha: scale }),
} as const satisfies AdapterKind;

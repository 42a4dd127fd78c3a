import type { Block } from "../block.js";
import { mlp, positioned, projections } from "./parts.js";

/** A norm behind each branch alone (OLMo 2). */
export const postNorm: Block = {
  norms: ["post_attention_layernorm", "post_feedforward_layernorm"],
  attentionInput: (ops, x) => positioned(ops, projections(ops, x)),
  attentionOutput(ops, x, o) {
    const middle = ops.add(x, ops.norm("post_attention_layernorm", ops.linear("o_proj", o)));
    return ops.add(middle, ops.norm("post_feedforward_layernorm", mlp(ops, middle)));
  },
};

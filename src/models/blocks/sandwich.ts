import type { Block } from "../block.js";
import { mlp, positioned, projections } from "./parts.js";

/** A norm before each branch and one behind it, on what is added (Gemma 2 and 3). */
export const sandwich: Block = {
  norms: ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"],
  attentionInput: (ops, x) => positioned(ops, projections(ops, ops.norm("input_layernorm", x))),
  attentionOutput(ops, x, o) {
    const middle = ops.add(x, ops.norm("post_attention_layernorm", ops.linear("o_proj", o)));
    const y = mlp(ops, ops.norm("pre_feedforward_layernorm", middle));
    return ops.add(middle, ops.norm("post_feedforward_layernorm", y));
  },
};

import type { Block, BlockOps } from "../block.js";
import { mlp, positioned, projections } from "./parts.js";

/** A norm before each branch (Llama and most others); what a branch gives may be scaled before it is added (Granite). */
export const preNorm: Block = {
  norms: ["input_layernorm", "post_attention_layernorm"],
  attentionInput: (ops, x) => positioned(ops, projections(ops, ops.norm("input_layernorm", x))),
  attentionOutput(ops, x, o) {
    const middle = ops.add(x, branch(ops, ops.linear("o_proj", o)));
    return ops.add(middle, branch(ops, mlp(ops, ops.norm("post_attention_layernorm", middle))));
  },
};

const branch = <T>(ops: BlockOps<T>, x: T): T => ops.scale(x, ops.config.residualMultiplier ?? 1);

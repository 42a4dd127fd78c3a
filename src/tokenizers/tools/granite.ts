import type { ToolFormat } from "./format.js";

/** Granite 3: a list of calls after one token. Granite 4 writes them as Hermes does. */
export const granite: ToolFormat = {
  name: "granite3",
  tells: (template) =>
    template.includes("<|tool_call|>") || (template.includes("<|start_of_role|>") && !template.includes("<tool_call>")),
  opens: ["<|tool_call|>"],
  closes: [],
  layout: { begin: "<|tool_call|>[", call: ['{"name": "', '", "arguments": ', "}"], between: ", ", end: "]" },
};

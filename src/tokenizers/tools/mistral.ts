import type { ToolFormat } from "./format.js";

/** Mistral's tokenizers of version 3: a list of calls after one token. Newer ones write `[ARGS]`, which is another format. */
export const mistral: ToolFormat = {
  name: "mistral3",
  tells: (template) => template.includes("[TOOL_CALLS]") && !template.includes("[ARGS]"),
  opens: ["[TOOL_CALLS]"],
  closes: [],
  layout: { begin: "[TOOL_CALLS] [", call: ['{"name": "', '", "arguments": ', "}"], between: ", ", end: "]" },
  ids: "nine letters and digits",
};

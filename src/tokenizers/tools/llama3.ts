import type { ToolFormat } from "./format.js";

/** Llama 3.1 to 3.3: the answer is one call, a JSON object with `parameters`, with or without a token before it. */
export const llama3: ToolFormat = {
  name: "llama3",
  tells: (template) => /\bipython\b/.test(template) && /\bparameters\b/.test(template),
  opens: ["<|python_tag|>"],
  closes: [],
  bare: '{"name"',
  layout: { begin: "", call: ['{"name": "', '", "parameters": ', "}"], end: "" },
};

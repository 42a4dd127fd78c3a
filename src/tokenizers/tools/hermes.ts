import type { ToolFormat } from "./format.js";

/**
 * Hermes, Qwen 2.5 and 3, SmolLM3 (its tools in XML), Granite 4: every call is a JSON object between tags. What is written between
 * such tags otherwise (`<function=...>`, `<arg_key>`) is another format.
 */
export const hermes: ToolFormat = {
  name: "hermes",
  tells: (template) => template.includes("<tool_call>") && !/<function=|<arg_key>/.test(template),
  opens: ["<tool_call>"],
  closes: ["</tool_call>"],
  layout: {
    begin: "",
    call: ['<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>"],
    between: "\n",
    end: "",
  },
};

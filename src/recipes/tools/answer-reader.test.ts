import { expect, it } from "vitest";
import { hermes } from "../../tokenizers/tools/hermes.js";
import { llama3 } from "../../tokenizers/tools/llama3.js";
import { mistral } from "../../tokenizers/tools/mistral.js";
import { createAnswerReader } from "./answer-reader.js";

/** What an answer says and calls, the same whether it comes at once or character by character. */
function read(format: typeof hermes, answer: string) {
  const all = [[answer], [...answer]].map((pieces) => {
    const reader = createAnswerReader(format, new Set(["f", "g"]));
    const said = [...pieces.map(reader.push), reader.end()];
    const calls: string[] = [];
    for (const { call, name, arguments: more } of said.flatMap((one) => one.calls)) {
      calls[call] = (calls[call] ?? `${name}:`) + more;
    }
    return { text: said.map(({ text }) => text).join(""), calls };
  });
  expect(all[1]).toEqual(all[0]);
  return all[0];
}
const f = (given: string) => `<tool_call>\n{"name": "f", "arguments": ${given}}\n</tool_call>`;

it.each([
  ["words alone", hermes, " a <tool\nb ", " a <tool\nb ", []],
  ["words, then calls", hermes, `I look.\n${f("{}")}\n${f('{"a": "}\\""}')}\n`, "I look.", ["f:{}", 'f:{"a": "}\\""}']],
  ["arguments first", hermes, '<tool_call>{"arguments":{"a":[1]},"id":3,"name":"g"}</tool_call>', "", ['g:{"a":[1]}']],
  ["arguments as text", hermes, '<tool_call>{"name":"g","arguments":"{\\"a\\": 1}"}</tool_call>', "", ['g:{"a": 1}']],
  ["no arguments", hermes, '<tool_call>{"name":"g"}</tool_call>', "", ["g:{}"]],
  [
    "no such function",
    hermes,
    '<tool_call>{"name":"h","arguments":{}}</tool_call>',
    '<tool_call>{"name":"h","arguments":{}}</tool_call>',
    [],
  ],
  ["no call", hermes, "a <tool_call> is a tag", "a <tool_call> is a tag", []],
  ["no JSON", hermes, '<tool_call>{"name" is f}', '<tool_call>{"name" is f}', []],
  ["cut before the name", hermes, 'Well: <tool_call>{"name": "f', 'Well: <tool_call>{"name": "f', []],
  ["cut in the arguments", hermes, '<tool_call>{"name": "f", "arguments": {"a": "b', "", ['f:{"a": "b']],
  ["words after calls", hermes, `${f("{}")} Done.`, "Done.", ["f:{}"]],
  ["a bare call", llama3, ' {"name": "f", "parameters": {"a": 1}}', "", ['f:{"a": 1}']],
  ["a token before it", llama3, '<|python_tag|>{"type": "function", "name": "f", "parameters": {}}', "", ["f:{}"]],
  ["an answer in JSON", llama3, '{"town": "Kos"}', '{"town": "Kos"}', []],
  ["JSON later on", llama3, 'See {"name": "f", "parameters": {}}', 'See {"name": "f", "parameters": {}}', []],
  [
    "a list",
    mistral,
    '[TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"x": 2}, "id": "a"}]',
    "",
    ["f:{}", 'g:{"x": 2}'],
  ],
])("%s", (_, format, answer, text, calls) => {
  expect(read(format, answer)).toEqual({ text, calls });
});

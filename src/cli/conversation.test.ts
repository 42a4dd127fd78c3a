import { expect, it } from "vitest";
import { jsonValue } from "../data/json-value.js";
import { Float } from "../tokenizers/json.js";
import { readConversation } from "./conversation.js";

const unread = (name: string) => {
  throw new Error(`${name} is not read`);
};
const checkMessages = (value: unknown, where: string) => readConversation(value, where, unread).messages;

const user = (content: unknown) => ({ role: "user", content });
const call = { role: "assistant", content: null, tool_calls: [{ function: { name: "f", arguments: "{}" } }] };

it("joins text parts, and leaves other fields as they are", () => {
  const parts = [{ type: "text", text: " a" }, { type: "text", text: "b\n" }, "c"];
  expect(checkMessages([user(parts)], "x")).toEqual([user(" a\nb\n\nc")]);
  const tool = { role: "tool", tool_call_id: "1", content: "2" };
  expect(checkMessages({ messages: [user("a"), call, tool] }, "x")).toEqual([user("a"), call, tool]);
  const { content: _, ...bare } = call;
  expect(checkMessages([bare], "x")).toEqual([call]);
});

it("refuses what is no text, naming the message and the part", () => {
  const refused = (value: unknown) => {
    try {
      return checkMessages(value, "a.json");
    } catch (error) {
      return (error as Error).message;
    }
  };
  for (const value of [null, "a", {}, [], { messages: [] }, { messages: {} }])
    expect(refused(value)).toContain('a.json: expected a list of {"role": ..., "content": ...}');
  expect(refused([user("a"), 3])).toBe("a.json: messages[1]: expected an object with a role, got 3");
  expect(refused([{ role: 1, content: "a" }])).toContain('with a role, got {"role":1,"content":"a"}');
  expect(refused([user(null)])).toBe("a.json: messages[0].content: expected a text or a list of text parts, got null");
  expect(refused([{ role: "user" }])).toContain("got nothing");
  expect(refused([user({ text: "a" })])).toContain('got {"text":"a"}');
  expect(refused([user([{ type: "image_url", image_url: {} }])])).toContain(
    'messages[0].content[0]: expected {"type": "text", "text": ...}, got {"type":"image_url"',
  );
  expect(refused([{ role: "assistant", content: null, tool_calls: [] }])).toContain("got null");
  let deep: unknown = 1;
  for (let i = 0; i < 200_000; i++) deep = [deep];
  expect(refused([{ ...user("a"), deep }])).toBe("a.json: messages[0]: its values are nested too deep");
  expect(refused([deep])).toContain("got deeply nested values");
});

it("reads tools and a system prompt beside the messages, and names what nothing reads", () => {
  const named: string[] = [];
  const read = (value: unknown) => readConversation(value, "a.json", (name) => named.push(name));
  const [tool, messages] = [{ type: "function", function: { name: "f" } }, [user("a")]];
  expect(read({ messages, tools: [tool] })).toEqual({ messages, tools: [tool] });
  expect(read({ messages, tools: JSON.stringify([tool]) })).toEqual({ messages, tools: [tool] });
  expect(read({ messages, tools: [], system: null })).toEqual({ messages });
  expect(read({ messages, system: "s" }).messages).toEqual([{ role: "system", content: "s" }, user("a")]);
  expect(named).toEqual([]);
  read({ messages, temperature: 0, max_tokens: 4, stop: [] });
  expect(named).toEqual(["temperature", "max_tokens"]);
  expect(() => read({ messages, tools: [3] })).toThrow("a.json: tools[0] must be an object, not number");
  expect(() => read({ messages, tools: {} })).toThrow("a.json: tools must be a list, not object");
  const system = { role: "system", content: "other" };
  expect(() => read({ messages: [system, user("a")], system: "s" })).toThrow("a.json: system says one thing");
});

it("keeps numbers as they are written", () => {
  const text = '{"messages": [{"role": "user", "content": "a", "given": 1.0}], "tools": [{"default": 2.0}]}';
  const { messages, tools } = readConversation(jsonValue(text), "a.json", unread);
  expect([messages[0]!.given, (tools![0] as { default: unknown }).default]).toEqual([new Float(1), new Float(2)]);
});

import { expect, it } from "vitest";
import { checkMessages } from "./conversation.js";

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

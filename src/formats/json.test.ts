import { expect, test } from "vitest";
import { UserError } from "../tensor/index.js";
import { parseObject } from "./json.js";

const nested = (depth: number, open = "[", close = "]") => `{"a":${open.repeat(depth - 1)}1${close.repeat(depth - 1)}}`;

test("128 levels are read, one more is refused, and so are 200,000", () => {
  expect(parseObject("f", nested(128))).toHaveProperty("a");
  for (const depth of [129, 200_000]) {
    for (const [open, close] of [
      ["[", "]"],
      ['{"b":', "}"],
    ] as const) {
      for (const unique of [true, false]) {
        const attempt = () => parseObject("f", nested(depth, open, close), { unique });
        expect(attempt).toThrow("f: it nests objects and lists more than 128 deep");
      }
    }
  }
  expect(parseObject("f", `{"a":"${"[".repeat(1000)}"}`), "brackets in a text nest nothing").toHaveProperty("a");
});

test("what Python writes for floats that JSON has not", () => {
  const text = '{"a":Infinity,"b":[-Infinity, NaN],"NaN":"Infinity -Infinity NaN","c":-1.5}';
  expect(parseObject("f", text)).toEqual({
    a: { __float__: "Infinity" },
    b: [{ __float__: "-Infinity" }, { __float__: "NaN" }],
    NaN: "Infinity -Infinity NaN",
    c: -1.5,
  });
});

test.each([
  "",
  "[]",
  "null",
  '"',
  '{"a',
  '{"a\\',
  '{"a":"\\',
  "{]",
  "{NaN}",
  '{"a":Infinit}',
  '{"\\x":1}',
  '{"a":1,"a":2}',
  '{"a":{"\\u0061":1,"a":2}}',
  '{"__proto__":1}',
])("%s is refused with a typed error", (text) => {
  expect(() => parseObject("f", text)).toThrow(UserError);
});

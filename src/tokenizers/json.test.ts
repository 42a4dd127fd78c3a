import { describe, expect, it } from "vitest";
import { Float, keysOf, LongInteger, parseJson } from "./json.js";

describe("JSON", () => {
  it("keeps floats, long integers and the order of keys", () => {
    const text = '{"b": 1.0, "10": -0.0, "2": [1e5, 1.5, 12345678901234567890], "__proto__": {"a": "\\u00e9\\"1.0"}}';
    const value = parseJson(text) as Record<string, unknown>;
    expect(keysOf(value)).toEqual(["b", "10", "2", "__proto__"]);
    expect(value.b).toEqual(new Float(1));
    expect((value["10"] as Float).value).toBe(-0);
    expect(value["2"]).toEqual([new Float(1e5), 1.5, new LongInteger(12345678901234567890n)]);
    expect(Object.getOwnPropertyDescriptor(value, "__proto__")!.value).toEqual({ a: 'é"1.0' });
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(JSON.stringify([value.b, value["2"]])).toBe("[1,[100000,1.5,12345678901234567000]]");
  });

  it("gives what JSON.parse gives otherwise", () => {
    for (const text of [
      '{"a":[1,-2.5,true,false,null,"x\\\\"],"b":{}}',
      "[]",
      '"1.0 2.0"',
      " [ 1 , { } ] ",
      '["1.0\\\\", 2]',
    ]) {
      expect(parseJson(text)).toEqual(JSON.parse(text));
    }
    for (const text of ["{", "[1.0,]", "01.0", '{"a" 1.0}', "NaN", '["1.0]']) {
      expect(() => parseJson(text)).toThrow(SyntaxError);
    }
  });

  it("refuses what nests too deeply or has too many digits", () => {
    expect(() => parseJson("[".repeat(200000))).toThrow("nested deeper than 100 levels");
    expect(() => parseJson(`[${"[1.0]".repeat(3).replaceAll("][", "],[")}]`, { maxDepth: 1 })).toThrow(/1 levels/);
    expect(() => parseJson("9".repeat(5000))).toThrow(/4300 digits/);
    expect(parseJson(`"${"[".repeat(500)}"`)).toHaveLength(500);
  });

  it("reads megabytes in a moment", () => {
    const text = JSON.stringify({ rows: Array.from({ length: 100000 }, (_, i) => ({ text: `row ${i} \\ "x"`, i })) });
    const before = performance.now();
    parseJson(text.replace("{", '{"f":1.0,'));
    expect(performance.now() - before).toBeLessThan(5000);
  });
});

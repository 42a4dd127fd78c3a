import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseJson } from "../../tokenizers/json.js";
import { readRows } from "./jsonl.js";
import type { FileRow } from "./source.js";

const utf8 = new TextEncoder();

async function read(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  maxRowBytes?: number,
): Promise<FileRow[]> {
  const rows: FileRow[] = [];
  for await (const row of readRows(chunks, "rows.jsonl", { maxRowBytes })) rows.push(row);
  return rows;
}
const readText = (text: string, maxRowBytes?: number) => read([utf8.encode(text)], maxRowBytes);
const values = (rows: FileRow[]) => rows.map((row) => row.value);

/** The bytes cut into chunks of `size`. */
function* cut(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe("JSONL", () => {
  it("takes BOM, CRLF, empty lines, no newline at the end, and counts lines", async () => {
    const rows = await readText('\ufeff{"a":1}\r\n\r\n   \r\n{"a":"x\\ny"}\r\n{"a":3}');
    expect(rows).toEqual([
      { index: 0, line: 1, size: 8, value: { a: 1 } },
      { index: 1, line: 4, size: 13, value: { a: "x\ny" } },
      { index: 2, line: 5, size: 7, value: { a: 3 } },
    ]);
    expect(values(await readText('{"a":1}\n{"a":2}\n'))).toEqual([{ a: 1 }, { a: 2 }]);
  });

  it("keeps a U+FEFF and a U+2028 inside a string", async () => {
    expect(values(await readText('{"a":"\ufeff\u2028"}\n'))).toEqual([{ a: "\ufeff\u2028" }]);
  });

  it("broken line, bad UTF-8, an array, a deep row: told with their line, the rest is read", async () => {
    const bad = new Uint8Array([...utf8.encode('{"a":"'), 0xc3, 0x28, ...utf8.encode('"}\n')]);
    const deep = utf8.encode(`{"a":${"[".repeat(5000)}${"]".repeat(5000)}}\n`);
    const rows = await read([utf8.encode('{"a":1}\n{"a":\n'), bad, deep, utf8.encode('3\n{"a":2}')]);
    expect(rows.map((row) => row.line)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(rows.map((row) => row.error)).toEqual([
      undefined,
      expect.stringMatching(/^not JSON/),
      "not UTF-8; save the file as UTF-8",
      "nested deeper than 100 levels",
      "expected an object, got 3",
      undefined,
    ]);
  });

  it("shows what is wrong without what a terminal would obey", async () => {
    const [first, second] = await readText('{"a": \u001b[31m}\n\u001b[2J\n');
    expect(first!.error).toMatch(/^not JSON .*\\u001b/);
    for (const { error } of [first!, second!]) expect(error).not.toContain("\u001b");
  });

  it("explains an object over many lines", async () => {
    const [first] = await readText('{\n  "a": 1\n}\n');
    expect(first!.error).toMatch(/A row has to be on one line/);
  });

  it("200 MB line: refused without being held, the next line is read", async () => {
    const megabyte = utf8.encode("x".repeat(1 << 20));
    async function* huge() {
      yield utf8.encode('{"a":1}\n{"a":"');
      for (let i = 0; i < 200; i++) yield megabyte;
      yield utf8.encode('"}\n{"a":2}\n');
    }
    const before = process.memoryUsage().arrayBuffers;
    let most = 0;
    const rows: FileRow[] = [];
    for await (const row of readRows(watched(), "rows.jsonl", { maxRowBytes: 1 << 24 })) rows.push(row);
    async function* watched() {
      for await (const chunk of huge()) {
        most = Math.max(most, process.memoryUsage().arrayBuffers - before);
        yield chunk;
      }
    }
    expect(rows.map((row) => [row.line, row.error])).toEqual([
      [1, undefined],
      [2, expect.stringMatching(/^the row is longer than 16777216 bytes/)],
      [3, undefined],
    ]);
    expect(most).toBeLessThan(64 * 1024 * 1024);
  });

  it("refuses UTF-16 and files without rows", async () => {
    await expect(read([new Uint8Array([0xff, 0xfe, 0x7b, 0])])).rejects.toThrow("rows.jsonl: is UTF-16");
    for (const text of ["", "\n \n", "\ufeff", "[]"]) await expect(readText(text)).rejects.toThrow(/holds no rows/);
  });
});

describe("JSON array", () => {
  it("takes objects over many lines, with brackets, commas and quotes in strings", async () => {
    const list = [{ a: ']},{[\\"' }, { b: [1, { c: "," }] }, {}];
    const rows = await readText(`\ufeff \n${JSON.stringify(list, null, 2)}\n`);
    expect(values(rows)).toEqual(list);
    expect(rows.map((row) => row.line)).toEqual([3, 6, 14]);
  });

  it("broken element, missing end, text after the end: told", async () => {
    expect((await readText('[{"a":1}, {"a" 2}, {"a":3}]')).map((row) => row.error)).toEqual([
      undefined,
      expect.stringMatching(/^not JSON/),
      undefined,
    ]);
    expect((await readText('[{"a":1},\n{"a":2')).at(-1)!.error).toMatch(/ends inside the JSON array/);
    expect((await readText('[{"a":1}]\n{"a":2}')).at(-1)!.error).toMatch(/after the end of the JSON array/);
    expect((await readText('[{"a":1},,{"a":2}]')).map((row) => row.error !== undefined)).toEqual([false, true, false]);
    expect((await readText(`[{"a":"${"x".repeat(50)}"},{"a":2}]`, 40)).map((row) => row.error)).toEqual([
      expect.stringMatching(/^the row is longer than 40 bytes/),
      undefined,
    ]);
  });
});

it("reads the same rows however the bytes are cut", async () => {
  const row = fc.dictionary(
    fc.string({ unit: "grapheme" }),
    fc.oneof(fc.string({ unit: "grapheme" }), fc.jsonValue({ maxDepth: 2 })),
    { maxKeys: 3 },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 7 }),
      async (list, size) => {
        const plain = list.map((item) => parseJson(JSON.stringify(item)));
        const lines = utf8.encode(`\ufeff${list.map((item) => JSON.stringify(item)).join("\r\n")}`);
        const array = utf8.encode(JSON.stringify(list, null, 1));
        expect(values(await read(cut(lines, size)))).toEqual(plain);
        expect(values(await read(cut(array, size)))).toEqual(plain);
      },
    ),
    { seed: 4, numRuns: 100 },
  );
});

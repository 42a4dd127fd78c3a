import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readSource, sources } from "./index.js";
import type { FileRow, ReadOptions } from "./source.js";

const utf8 = new TextEncoder();
const fixture = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url));

/** The bytes cut into chunks of `size`. */
function* cut(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
async function read(name: string, content: string | Uint8Array, options: ReadOptions = {}, size = 1 << 16) {
  const rows: FileRow[] = [];
  const bytes = typeof content === "string" ? utf8.encode(content) : content;
  for await (const row of readSource(cut(bytes, size), name, options)) rows.push(row);
  return rows;
}
const values = async (...given: Parameters<typeof read>) => (await read(...given)).map((row) => row.value);

describe("CSV", () => {
  it("has quoted fields with commas, quotes and newlines, CRLF, BOM, empty lines, and no newline at the end", async () => {
    const rows = await read(
      "rows.csv",
      '\ufeffprompt,completion\r\n"a, ""b""","c\r\nd"\r\n\r\n x ,"ü 漢"\r\n"",y\r\nit said "no",z',
    );
    expect(rows.map(({ line, value }) => [line, value])).toEqual([
      [2, { prompt: 'a, "b"', completion: "c\r\nd" }],
      [5, { prompt: " x ", completion: "ü 漢" }],
      [6, { prompt: "", completion: "y" }],
      [7, { prompt: 'it said "no"', completion: "z" }],
    ]);
  });

  it("is the same however the bytes are cut, and gives back any text", async () => {
    const field = fc.oneof(fc.string({ unit: "grapheme" }), fc.stringMatching(/^[",\r\n a]{0,5}$/));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(field, field), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 1, max: 7 }),
        async (table, size) => {
          const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
          const text = ["a,b", ...table.map((row) => row.map(quote).join(","))].join("\r\n");
          const bytes = utf8.encode(text);
          const rows = table.map((row) => row.map((f) => new TextDecoder().decode(utf8.encode(f))));
          expect(await values("x.csv", bytes, {}, size)).toEqual(rows.map(([a, b]) => ({ a, b })));
        },
      ),
      { seed: 5, numRuns: 200 },
    );
  });

  it("a bad row is told with its line, the rest is read", async () => {
    const rows = await read("x.csv", 'a,b\n1\n1,2,3\n"1"x,2\n1,2\n"x', { maxRowBytes: 100 });
    expect(rows.map(({ line, error }) => [line, error])).toEqual([
      [2, "it has 1 fields, and the first line names 2 columns"],
      [3, "it has 3 fields, and the first line names 2 columns"],
      [4, expect.stringMatching(/^text after the quote that closes a field/)],
      [5, undefined],
      [6, "the file ends inside a quoted field of the row that begins on line 6"],
    ]);
    const long = await read("x.csv", `a,b\n"${"x\n".repeat(100)}",2\n1,2`, { maxRowBytes: 40 }, 7);
    expect(long.map(({ line, error }) => [line, error?.slice(0, 34)])).toEqual([
      [2, "the row is longer than 40 bytes, t"],
      [103, undefined],
    ]);
  });

  it("names columns as they are called, also __proto__, and one without a name", async () => {
    const [row] = await values("x.csv", ",__proto__, b \n0,1,2");
    expect(Object.entries(row!)).toEqual([
      ["(column 1 without a name)", "0"],
      ["__proto__", "1"],
      ["b", "2"],
    ]);
  });

  it.each([
    ["x.csv", "a,a\n1,2", /x.csv: its first line names the column a twice/],
    ["x.csv", "a;b\n1;2", /columns are apart by ";", and "," was expected/],
    ["x.tsv", "a,b\n1,2", /columns are apart by ",", and "\\t" was expected/],
    ["x.csv", "a,b\n", /x.csv: holds no rows/],
    ["x.csv", "", /x.csv: holds no rows/],
    ["x.csv", new Uint8Array([0x61, 0x0a, 0xe9, 0x0a]), /x.csv: not UTF-8/],
    ["x.csv", new Uint8Array([0xff, 0xfe, 0x61, 0]), /x.csv: is UTF-16/],
  ])("%s %j: refused", async (name, content, message) => {
    await expect(read(name, content)).rejects.toThrow(message);
  });

  it("with tabs is TSV", async () => {
    expect(await values("x.TSV", "a\tb\n1,2\t3")).toEqual([{ a: "1,2", b: "3" }]);
  });
});

describe("Parquet", () => {
  it.each(["none", "snappy", "gzip", "zstd", "brotli", "lz4"])("packed with %s", async (codec) => {
    expect(await values("rows.parquet", fixture(`texts-${codec}.parquet`))).toEqual([
      { prompt: "Zürich?", completion: " Ja.", id: 1 },
      { prompt: "漢?", completion: " Nein.", id: "1152921504606846976" },
    ]);
  });

  it("gives lists and objects as they were written, without the nulls that it fills in", async () => {
    const rows = await read("rows.parquet", fixture("messages.parquet"));
    const tool = {
      type: "function",
      function: {
        name: "ferry",
        description: "Next ferry to an island",
        parameters: { type: "object", properties: { island: { type: "string" } }, required: ["island"] },
      },
    };
    const [ask, reply] = [
      { role: "user", content: "Next ferry to Texel?" },
      { role: "assistant", content: "At nine." },
    ];
    const call = { type: "function", function: { name: "ferry", arguments: { island: "Texel" } } };
    expect(rows.map(({ value }) => value)).toEqual([
      { messages: [ask, reply], tools: null, note: null },
      { messages: [{ role: "user", content: "Hi", name: "Ada" }, reply], tools: [tool], note: "x" },
      {
        messages: [ask, { role: "assistant", content: null, tool_calls: [call] }, reply],
        tools: [tool],
        note: null,
      },
    ]);
    expect(rows.map(({ index, line }) => [index, line])).toEqual([
      [0, 1],
      [1, 2],
      [2, 3],
    ]);
  });

  it("cut off anywhere: refused, naming the file", async () => {
    const whole = fixture("messages.parquet");
    for (let length = 0; length < whole.length; length += 97) {
      await expect(read("rows.parquet", whole.subarray(0, length))).rejects.toThrow(
        /^rows\.parquet: cannot be read as Parquet/,
      );
    }
    await expect(read("rows.parquet", '{"text": "a"}')).rejects.toThrow(/^rows\.parquet: cannot be read as Parquet/);
  });

  it("a row that is too long is told with its number", async () => {
    const rows = await read("rows.parquet", fixture("texts-none.parquet"), { maxRowBytes: 10 });
    expect(rows.map(({ line, error }) => [line, error?.slice(0, 31)])).toEqual([
      [1, "the row is longer than 10 bytes"],
      [2, "the row is longer than 10 bytes"],
    ]);
  });
});

describe("gzip", () => {
  const lines = '{"text": "a"}\n{"text": "ü"}\n';
  it("around each kind of file, in chunks of any size, and several in one", async () => {
    const packed = gzipSync(lines);
    for (const size of [1, 3, 1000]) expect(await values("x.jsonl.gz", packed, {}, size)).toHaveLength(2);
    expect(await values("x.gz", packed)).toEqual([{ text: "a" }, { text: "ü" }]);
    expect(await values("x.jsonl.gz", Buffer.concat([packed, packed]))).toHaveLength(4);
    expect(await values("x.csv.gz", gzipSync("text\na\n"))).toEqual([{ text: "a" }]);
    expect(await values("x.parquet.gz", gzipSync(fixture("texts-snappy.parquet")))).toHaveLength(2);
  });

  it("cut off, damaged, or not gzip: refused, naming the file", async () => {
    const packed = gzipSync(lines.repeat(100));
    const damaged = Buffer.from(packed);
    damaged[packed.length - 6]! ^= 1;
    for (const bytes of [packed.subarray(0, -3), packed.subarray(0, 12), damaged, utf8.encode(lines)]) {
      await expect(read("x.jsonl.gz", bytes)).rejects.toThrow(/^x\.jsonl\.gz: is not whole gzip data/);
    }
  });

  it("64 MB in one line: refused without being held", async () => {
    const bomb = gzipSync(
      Buffer.concat([utf8.encode('{"text": "'), Buffer.alloc(64 << 20, 0x61), utf8.encode('"}\n')]),
    );
    const rows = await read("x.jsonl.gz", Buffer.concat([bomb, gzipSync(lines)]), { maxRowBytes: 1 << 20 });
    expect(rows.map(({ error }) => error?.slice(0, 36))).toEqual([
      "the row is longer than 1048576 bytes",
      undefined,
      undefined,
    ]);
  });

  it("hands on what goes wrong with the source", async () => {
    async function* failing() {
      yield gzipSync(lines).subarray(0, 10);
      throw new Error("disk gone");
    }
    const reading = async () => {
      for await (const _ of readSource(failing(), "x.jsonl.gz"));
    };
    await expect(reading()).rejects.toThrow("disk gone");
  });

  it("closes the source when reading stops early", async () => {
    let closed = false;
    async function* endless() {
      try {
        for (;;) yield gzipSync(lines.repeat(1000));
      } finally {
        closed = true;
      }
    }
    for await (const row of readSource(endless(), "x.jsonl.gz")) if (row.index === 5) break;
    expect(closed).toBe(true);
  });
});

describe("a file that is not what its name says", () => {
  it.each([
    ["x.jsonl", gzipSync("{}"), /x.jsonl: is gzip, which its name does not say; give it a name that ends in .gz/],
    ["x.csv", fixture("texts-none.parquet"), /is Parquet, .*ends in .parquet/],
    ["x", utf8.encode("PK\u0003\u0004zip"), /is a zip archive, .*unpack it/],
    ["x.json", new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 1]), /is zstd, .*unpack it/],
  ])("%s: refused", async (name, bytes, message) => {
    await expect(read(name, bytes)).rejects.toThrow(message);
  });
  it("an unknown ending is JSONL", async () => {
    expect(await values("rows", '{"a": 1}\n')).toEqual([{ a: 1 }]);
    expect(await values("rows.data", '[{"a": 1}]')).toEqual([{ a: 1 }]);
  });
});

it("docs/data.md names every ending", () => {
  const docs = readFileSync(new URL("../../../docs/data.md", import.meta.url), "utf8");
  const table = docs.slice(docs.indexOf("| ending"), docs.indexOf("The format is told"));
  const named = [...table.matchAll(/^\| (`\..*?) *\|/gm)].flatMap(([, cell]) => cell!.match(/\.\w+/g));
  expect(named).toEqual(sources.flatMap(({ endings }) => endings));
});

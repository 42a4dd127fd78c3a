import { readFileSync } from "node:fs";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { applyAdapter, embed } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { type Tiny, tiny } from "./tiny.js";

const FOLDER = new URL("../reference/vectors/embeddings/", import.meta.url);
interface Reference {
  readonly ids: readonly number[];
  readonly base: readonly number[];
  readonly adapter: readonly number[];
}
const REFERENCE = JSON.parse(readFileSync(new URL("expected.json", FOLDER), "utf8")) as Reference[];

let t: Tiny;
let http: HttpServer;
let client: OpenAI;
beforeAll(async () => {
  t = await tiny();
  const registry = createAdapterRegistry(t.model);
  await registry.load("tuned", new URL("adapter", FOLDER).pathname);
  http = await serveHttp(createServer(registry, { baseId: "tiny", seed: 1 }).fetch, { port: 0 });
  client = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await http.close();
  await t.dispose();
});

const worst = (got: ArrayLike<number>, wanted: readonly number[]) =>
  Math.max(...wanted.map((value, i) => Math.abs(got[i]! - value)));

it("are transformers' last hidden state of the last token, with PEFT's adapter too", async () => {
  const adapter = await applyAdapter(t.model, new URL("adapter", FOLDER).pathname);
  for (const { ids, base, adapter: tuned } of REFERENCE) {
    const mine = await embed(t.model, { tokenIds: ids });
    expect(mine.embedding).toHaveLength(base.length);
    expect(worst(mine.embedding, base)).toBeLessThan(2e-6);
    const adapted = await embed(t.model, { tokenIds: ids }, { adapter });
    expect(worst(adapted.embedding, tuned)).toBeLessThan(2e-6);
    expect(worst(adapted.embedding, base)).toBeGreaterThan(1e-2);
    expect((await embed(t.model, { tokenIds: ids })).embedding).toEqual(mine.embedding); // to the bit
  }
  adapter.dispose();
});

it("over HTTP: base64 as the openai package asks for it, floats, lists of ids, usage", async () => {
  const input = REFERENCE.map(({ ids }) => [...ids]);
  for (const model of ["tiny", "tuned"]) {
    const { data, usage, model: named } = await client.embeddings.create({ model, input });
    const floats = await client.embeddings.create({ model, input, encoding_format: "float" });
    expect(data.map(({ index }) => index)).toEqual(input.map((_, i) => i));
    for (const [i, { embedding }] of data.entries()) {
      expect(worst(embedding, REFERENCE[i]![model === "tiny" ? "base" : "adapter"])).toBeLessThan(2e-6);
      expect(Array.from(embedding)).toEqual(floats.data[i]!.embedding);
    }
    const tokens = input.reduce((sum, ids) => sum + ids.length, 0);
    expect({ named, usage }).toEqual({ named: model, usage: { prompt_tokens: tokens, total_tokens: tokens } });
  }
  const text = "Where does Ada live?";
  const [one, same] = await Promise.all([
    client.embeddings.create({ model: "tiny", input: text, encoding_format: "float" }),
    client.embeddings.create({ model: "tiny", input: [t.model.tokenizer.encode(text)], encoding_format: "float" }),
  ]);
  expect(one.data[0]!.embedding).toEqual(same.data[0]!.embedding);
});

it("dimensions: the first ones, brought to length 1 again", async () => {
  const { ids, base } = REFERENCE[0]!;
  const { data } = await client.embeddings.create({ model: "tiny", input: [[...ids]], dimensions: 8 });
  const norm = Math.hypot(...base.slice(0, 8));
  expect(data[0]!.embedding).toHaveLength(8);
  expect(
    worst(
      data[0]!.embedding,
      base.slice(0, 8).map((value) => value / norm),
    ),
  ).toBeLessThan(5e-6);
});

it.each([
  [{ input: "" }, /empty/],
  [{ input: [] }, /input/],
  [{ dimensions: 129 }, /from 1 to 128/],
  [{ dimensions: 0 }, /dimensions/],
  [{ encoding_format: "int8" }, /encoding_format/],
  [{ input: "long ".repeat(2000) }, /context/],
  [{ input_type: "query" }, /input_type/],
])("%j is refused", async (more, why) => {
  const asked = client.embeddings.create({ model: "tiny", input: "x", ...(more as object) });
  await expect(asked).rejects.toMatchObject({ status: 400, message: why });
});

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import type { FineTuning } from "../../src/server/index.js";
import { createServer, DEFAULT_LIMITS } from "../../src/server/index.js";
import type { Core } from "../../src/server/route.js";
import { routesOf } from "../../src/server/routes/index.js";
import { type Tiny, tiny } from "./tiny.js";

let t: Tiny;
let send: (method: string, path: string, body?: object) => Promise<Response>;
let document: { openapi: string; paths: Record<string, Record<string, Operation>> };
interface Operation {
  readonly operationId: string;
  readonly requestBody?: { readonly content: { "application/json": { schema: Schema } } };
}
interface Schema {
  readonly required: readonly string[];
  readonly properties: Readonly<Record<string, object>>;
}
// Routes say what they are without running a job.
const fineTuning = { load: { running: 0, waiting: 0 }, batches: { begin() {} } } as unknown as FineTuning;

beforeAll(async () => {
  t = await tiny();
  const server = createServer(createAdapterRegistry(t.model), { baseId: "tiny", fineTuning });
  send = (method, path, body) => {
    const sent = body ? { body: JSON.stringify(body), headers: { "content-type": "application/json" } } : {};
    return server.fetch(new Request(`http://localhost${path}`, { method, ...sent }));
  };
  document = (await (await send("GET", "/openapi.json")).json()) as typeof document;
});
afterAll(() => t.dispose());

it("every route is in the document, everything in the document is a route, and docs/serve.md knows them all", async () => {
  const service = { registry: createAdapterRegistry(t.model), baseId: "tiny", limits: DEFAULT_LIMITS };
  const routes = Object.keys(routesOf({ service, fineTuning } as unknown as Core));
  const operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const written = routes.map((route) => route.replace(/:(\w+)(\{.+\})?/, "{$1}"));
  expect(document.openapi).toBe("3.1.0");
  expect(operations.sort()).toEqual(written.sort());
  const page = readFileSync(new URL("../../docs/serve.md", import.meta.url), "utf8");
  for (const [path, item] of Object.entries(document.paths)) {
    const reply = await send("PATCH", path.replace("{id}", "x"));
    const allowed = Object.keys(item).map((method) => method.toUpperCase());
    expect(
      reply.headers
        .get("allow")!
        .split(", ")
        .filter((name) => name !== "HEAD")
        .sort(),
      path,
    ).toEqual(allowed.sort());
    expect(page, path).toContain(path.split("/{id}")[0]!);
  }
  const ids = Object.values(document.paths).flatMap((item) =>
    Object.values(item).map(({ operationId }) => operationId),
  );
  expect(new Set(ids).size).toBe(ids.length);
});

it("bodies are the schemas that requests are read by", () => {
  const bodyOf = (path: string) => document.paths[path]!.post!.requestBody!.content["application/json"].schema;
  const chat = bodyOf("/v1/chat/completions");
  expect(chat.required).toEqual(expect.arrayContaining(["model", "messages"]));
  expect(chat.properties).toMatchObject({
    temperature: { type: "number", minimum: 0, maximum: 2, default: 1 },
    response_format: { type: "object", properties: { type: { type: "string" } } },
    stream_options: { type: "object", properties: { include_usage: { type: "boolean" } } },
  });
  expect(bodyOf("/v1/responses").properties).toMatchObject({
    store: { type: "boolean", default: true },
    text: { type: "object", properties: { format: { type: "object" } } },
  });
  expect(bodyOf("/v1/embeddings").required).toEqual(["model", "input"]);
  expect(bodyOf("/v1/fine_tuning/jobs").properties).toMatchObject({
    method: { properties: { type: { enum: ["supervised", "dpo"] } } },
  });
});

it("/metrics: every family has its help and type, histograms add up", async () => {
  const body = { model: "tiny", messages: [{ role: "user", content: "Hi" }], max_tokens: 6, temperature: 0 };
  expect((await send("POST", "/v1/chat/completions", body)).status).toBe(200);
  const lines = (await (await send("GET", "/metrics")).text()).trimEnd().split("\n");
  const values = new Map(
    lines
      .filter((line) => !line.startsWith("#"))
      .map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
  const families = lines.flatMap((line) => (line.startsWith("# TYPE ") ? [line.split(" ").slice(2)] : []));
  expect(families.map(([name]) => name)).toContain("lowrank_running_jobs");
  for (const [name, type] of families) {
    expect(lines.filter((line) => line.startsWith(`# HELP ${name} `))).toHaveLength(1);
    if (type !== "histogram") continue;
    const label = [...values.keys()]
      .find((key) => key.startsWith(`${name}_count{`))!
      .slice(`${name}_count{`.length, -1);
    const buckets = [...values].filter(([key]) => key.startsWith(`${name}_bucket{${label},`)).map(([, value]) => value);
    expect(buckets).toEqual([...buckets].sort((a, b) => a - b));
    expect(buckets.at(-1)).toBe(values.get(`${name}_count{${label}}`));
  }
  const histograms = families.filter(([, type]) => type === "histogram").map(([name]) => name);
  expect(histograms).toEqual([
    "lowrank_request_seconds",
    "lowrank_time_to_first_token_seconds",
    "lowrank_time_per_output_token_seconds",
    "lowrank_request_prompt_tokens",
    "lowrank_request_completion_tokens",
  ]);
  expect(values.get('lowrank_time_to_first_token_seconds_count{model="tiny"}')).toBe(1);
  expect(values.get('lowrank_request_completion_tokens_bucket{model="tiny",le="8"}')).toBe(1);
  expect(values.get('lowrank_request_completion_tokens_sum{model="tiny"}')).toBe(
    values.get('lowrank_completion_tokens_total{model="tiny"}'),
  );
});

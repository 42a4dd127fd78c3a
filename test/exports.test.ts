import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import * as main from "../src/node/index.js";
import * as server from "../src/server/index.js";

const docs = new URL("../docs/", import.meta.url);
const pages = readdirSync(docs)
  .filter((name) => name.endsWith(".md"))
  .map((name) => readFileSync(new URL(name, docs), "utf8"));

it("what the package exports is in the docs", () => {
  const names = [...Object.entries(main), ...Object.entries(server)].flatMap(([name, value]) =>
    typeof value === "function" ? [name] : [],
  );
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !pages.some((text) => new RegExp(`\\b${name}\\b`).test(text)))).toEqual([]);
});

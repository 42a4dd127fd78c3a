import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { ERROR_CODES, UserError } from "./errors.js";

it("an error has its own code, or that of the mistake that it tells more of", () => {
  const inner = new UserError("a", { code: "not_found" });
  expect(inner.code).toBe("not_found");
  expect(new UserError(`b: ${inner.message}`, { cause: inner }).code).toBe("not_found");
  expect(new UserError("b", { cause: inner, code: "invalid_rows" }).code).toBe("invalid_rows");
  expect(new UserError("b", { cause: new Error("c") }).code).toBe("invalid_value");
});

it("docs/api.md has every code, with what it means", () => {
  const docs = readFileSync(new URL("../../docs/api.md", import.meta.url), "utf8");
  const table = docs.slice(docs.indexOf("| `error.code`"));
  const rows = [...table.slice(0, table.indexOf("\n\n")).matchAll(/^\| `(\w+)` \| (.*) \|$/gm)];
  expect(rows.map(([, code, meaning]) => [code, meaning])).toEqual(Object.entries(ERROR_CODES));
});

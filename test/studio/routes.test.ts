import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { SITE_HEADERS } from "../../src/studio/page-headers.js";
import { CALLS, STREAMS } from "../../src/studio/routes/index.js";
import { withPart } from "../pages.js";

// After a change: npx vitest run test/studio/routes.test.ts -u
it("docs/studio.md has every route, and the headers of the static site", async () => {
  const page = readFileSync(new URL("../../docs/studio.md", import.meta.url), "utf8");
  const rows = [
    ...Object.entries(CALLS).map(([name, route]) => [`\`${name}\``, route] as const),
    ...Object.entries(STREAMS).map(([name, route]) => [`\`${name}\` *`, route] as const),
  ].map(([name, { request, summary }]) => {
    const fields = Object.keys(request.shape).map((field) => `\`${field}\``);
    return `| ${name} | ${fields.join(", ")} | ${summary} |`;
  });
  const table = ["| route | asked with | what |", "| --- | --- | --- |", ...rows].join("\n");
  const lines = Object.entries(SITE_HEADERS).map(([name, value]) => `${name}: ${value}`);
  const headers = ["```http", ...lines, "```"].join("\n");
  await expect(withPart(withPart(page, "routes", table), "site headers", headers)).toMatchFileSnapshot(
    "../../docs/studio.md",
  );
});

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** Where a row of a table is proven: a test file, and how the title of the test begins. */
export type Proof = readonly [file: string, title: string];

/** Checks that a test is there under its title, and that it runs. */
export function expectProof([file, title]: Proof): void {
  const lines = readFileSync(`${ROOT}${file}`, "utf8").split("\n");
  const at = lines.findIndex((line) => line.includes(`"${title}`) || line.includes(`\`${title}`));
  expect(at, `${file}: a test whose title begins with '${title}'`).toBeGreaterThanOrEqual(0);
  const call = lines.slice(Math.max(0, at - 3), at + 1).join("\n");
  expect(call).toMatch(/\b(it|test|describe)\b/);
  expect(call).not.toMatch(/\.(skip|todo|only)\(/);
}

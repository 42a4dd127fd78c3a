// What traps.js and faults.js say is so: the tests are there and run, and the mutants fit. `mutate.js` tries them.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { FAULTS } from "./faults.js";
import { titlePattern } from "./table.js";
import { TRAPS } from "./traps.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (file: string) => readFileSync(`${ROOT}${file}`, "utf8");
const TRAP_COUNT = 24;

it("every trap has a proof", () => {
  const numbers = new Set(TRAPS.map(({ name }) => Number(/^trap (\d+): /.exec(name)?.[1])));
  expect([...numbers]).toEqual(Array.from({ length: TRAP_COUNT }, (_, i) => i + 1));
});

describe.each([...TRAPS, ...FAULTS])("$name", ({ proof, mutant }) => {
  it("is proven by a test that runs", () => {
    const lines = read(proof.file).split("\n");
    const at = lines.findIndex((line) => [`"`, "`"].some((quote) => line.includes(quote + proof.title)));
    expect(proof.title, "what is filled in is written %s or left out").not.toMatch(/\$[a-z]/);
    expect(at, `${proof.file}: a test whose title begins with '${proof.title}'`).toBeGreaterThanOrEqual(0);
    const call = lines.slice(Math.max(0, at - 3), at + 1).join("\n");
    expect(call).toMatch(/\b(it|test|describe)\b|^\s*\]?\)\(/m);
    expect(call).not.toMatch(/\.(skip|todo|only)\(/);
  });

  it("has a mutant that changes its file", () => {
    expect(read(mutant.file).split(mutant.from), `${mutant.file}: ${mutant.from}`).toHaveLength(2);
    expect(mutant.to).not.toBe(mutant.from);
  });
});

it("titles are found as they are reported", () => {
  expect("gguf GGUF with a hostile rank: an error (1)").toMatch(titlePattern("GGUF with a hostile %s: an error (1)"));
  expect("GGUF with a hostile rank").not.toMatch(titlePattern("GGUF with a hostile %s."));
});

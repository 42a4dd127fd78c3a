import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { boundedRegex } from "../tensor/regex/index.js";
import { openNormalizer } from "./normalizers.js";
import { drained } from "./steps.js";
import { asTheReferenceKnows } from "./unicode.js";

const tables = JSON.parse(
  readFileSync(new URL("../../test/reference/tokenizers/tables.json", import.meta.url), "utf8"),
) as Record<"normalizers" | "classes", Record<string, string>>;

const points = Array.from({ length: 0x110000 }, (_, c) => c).filter((c) => c < 0xd800 || c > 0xdfff);

it.each(Object.entries(tables.normalizers))(
  "%s makes of every character what the library makes of it",
  (type, digest) => {
    const normalize = openNormalizer({ type })!;
    const made = createHash("sha256");
    for (let start = 0; start < points.length; start += 4096) {
      const text = points
        .slice(start, start + 4096)
        .map((c) => `\0${String.fromCodePoint(c)}`)
        .join("");
      made.update(drained(normalize({ text, base: 0, origin: 0 })).text);
    }
    expect(made.digest("hex")).toBe(digest);
  },
);

it.each(Object.entries(tables.classes))(
  "%s holds the characters that the library's Oniguruma holds",
  (pattern, digest) => {
    const regex = boundedRegex(pattern, "oniguruma", "here");
    const held = points.map((c) => Number(regex.matchesWhole(asTheReferenceKnows(String.fromCodePoint(c)))));
    expect(createHash("sha256").update(Uint8Array.from(held)).digest("hex")).toBe(digest);
  },
);

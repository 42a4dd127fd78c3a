import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createTokenizer } from "./tokenizer.js";

/** `test/reference/make_tokenizer_families.py` says what is left out: what is the same as something else. */
interface Row {
  ids: number[];
  with_special?: number[];
  offsets: [number, number][];
  decoded?: string;
  decoded_all?: string;
}

const { texts, families } = JSON.parse(
  readFileSync(new URL("../../test/reference/tokenizers/families.json", import.meta.url), "utf8"),
) as { texts: string[]; families: { name: string; json: object; rows: Row[] }[] };

/** The code unit at which each code point begins. */
function units(text: string): number[] {
  const at = [0];
  for (const character of text) at.push(at.at(-1)! + character.length);
  return at;
}

describe.each(families.map((family) => [family.name, family] as const))("%s", (name, { json, rows }) => {
  const tokenizer = createTokenizer({ tokenizerJson: json, tokenizerConfig: {} });
  const bos = tokenizer.id("<s>");

  it("makes the tokens of the tokenizers library, in steps too, and its text again", () => {
    rows.forEach((row, i) => {
      const text = texts[i]!;
      const shown = JSON.stringify(text);
      expect(tokenizer.encode(text, { addSpecialTokens: false }), shown).toEqual(row.ids);
      expect(tokenizer.encodeWithOffsets(text, { addSpecialTokens: false }).ids, shown).toEqual(row.ids);
      // A BOS that the text begins with is not doubled here.
      if (row.ids[0] !== bos) expect(tokenizer.encode(text), shown).toEqual(row.with_special ?? row.ids);
      const decoded = row.decoded ?? text;
      expect(tokenizer.decode(row.ids), shown).toBe(decoded);
      expect(tokenizer.decode(row.ids, { skipSpecialTokens: false }), shown).toBe(row.decoded_all ?? decoded);
    });
  });

  // Behind a character that has no token the library counts wrongly.
  it.skipIf(name === "bytes-missing")("says which characters each covers: at least those that the library says", () => {
    rows.forEach((row, i) => {
      const text = texts[i]!;
      const at = units(text);
      const { starts, ends } = tokenizer.encodeWithOffsets(text, { addSpecialTokens: false });
      let last = 0;
      row.offsets.forEach(([start, end], t) => {
        const shown = `${JSON.stringify(text)}, token ${t} (${tokenizer.token(row.ids[t]!)})`;
        expect(ends[t], shown).toBeGreaterThanOrEqual(starts[t]!);
        expect(starts[t], shown).toBeGreaterThanOrEqual(last);
        last = starts[t]!;
        if (starts[t] === ends[t]) return; // what the tokenizer put there covers nothing here, a character there
        expect(starts[t], shown).toBeLessThanOrEqual(at[start]!);
        expect(ends[t], shown).toBeGreaterThanOrEqual(at[end]!);
      });
    });
  });
});

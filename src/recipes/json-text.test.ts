import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { sampleToken } from "../generation/sample.js";
import { random } from "../tensor/index.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { jsonText } from "./json-text.js";

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../test/reference/tokenizers/${name}.json`, import.meta.url), "utf8")) as object;
const ENDS = { llama2: "</s>", llama3: "<|eot_id|>", smollm2: "<|im_end|>" };

it.each(Object.entries(ENDS))("%s: whatever is likeliest, what it decodes to is a JSON object", (name, eos) => {
  const tokenizer = createTokenizer({ tokenizerJson: read(name), tokenizerConfig: { eos_token: eos } });
  const stop = tokenizer.eosId!;
  for (let seed = 0; seed < 60; seed++) {
    const rng = random(seed, name);
    const maxTokens = 2 + (seed % 30);
    const constraint = jsonText(tokenizer, { stopIds: new Set([stop]), maxTokens });
    const decoder = tokenizer.decoder();
    let text = "";
    for (let i = 0; i < maxTokens; i++) {
      const logits = Float32Array.from({ length: tokenizer.vocabSize + 3 }, () => 6 * rng.normal());
      const chosen = sampleToken(logits, { temperature: seed % 2, constraint }, [], rng);
      if (chosen === stop) break;
      text += decoder.push(chosen);
    }
    text += decoder.end();
    expect(Object.prototype.toString.call(JSON.parse(text)), text).toBe("[object Object]");
    expect(text).not.toContain("\ufffd");
  }
});

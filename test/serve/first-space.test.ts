import { afterAll, beforeAll, expect, it } from "vitest";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { createTokenizer, type Tokenizer } from "../../src/tokenizers/tokenizer.js";
import { type Tiny, tiny } from "./tiny.js";

// A tokenizer of SentencePiece's kind in front of the tiny model: what it says is nonsense, its spaces are what matters.
let t: Tiny;
let tokenizer: Tokenizer;
let fetch: (request: Request) => Promise<Response>;

function files() {
  const letters = [..."abcdefghijklmnopqrstuvwxyz"];
  const words = letters.flatMap((a) => letters.map((b) => `\u2581${a}${b}`));
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`);
  const tokens = [
    "<unk>",
    "<s>",
    "</s>",
    ...bytes,
    "\u2581",
    ...letters,
    ...letters.map((a) => `\u2581${a}`),
    ...words,
  ];
  const vocab = Object.fromEntries(tokens.slice(0, 512).map((token, id) => [token, id]));
  const merges = [
    ...letters.map((a) => `\u2581 ${a}`),
    ...words.map((word) => `${word.slice(0, 2)} ${word[2]}`),
  ].filter((pair) => pair.replace(" ", "") in vocab);
  const special = (content: string, id: number) => ({
    id,
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  });
  return {
    tokenizerConfig: { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" },
    tokenizerJson: {
      version: "1.0",
      added_tokens: [special("<unk>", 0), special("<s>", 1), special("</s>", 2)],
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Prepend", prepend: "\u2581" },
          { type: "Replace", pattern: { String: " " }, content: "\u2581" },
        ],
      },
      pre_tokenizer: null,
      post_processor: null,
      decoder: {
        type: "Sequence",
        decoders: [
          { type: "Replace", pattern: { String: "\u2581" }, content: " " },
          { type: "ByteFallback" },
          { type: "Fuse" },
          { type: "Strip", content: " ", start: 1, stop: 0 },
        ],
      },
      model: { type: "BPE", unk_token: "<unk>", fuse_unk: true, byte_fallback: true, vocab, merges },
    },
  };
}

beforeAll(async () => {
  t = await tiny();
  const own = files();
  tokenizer = createTokenizer(own);
  const open = { ...t.model.open, tokenizer: { ...t.model.open.tokenizer, ...own } };
  fetch = createServer(createAdapterRegistry({ ...t.model, tokenizer, open }), { baseId: "tiny" }).fetch;
});
afterAll(() => t.dispose());

async function complete(
  body: object,
): Promise<{ text: string; logprobs: { tokens: string[]; text_offset: number[] } }> {
  const reply = await fetch(
    new Request("http://localhost/v1/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "tiny", temperature: 2, max_tokens: 6, ...body }),
    }),
  );
  expect(reply.status).toBe(200);
  return ((await reply.json()) as { choices: [never] }).choices[0];
}

it("a completion goes on where its prompt ends: prompt and answer are what all tokens decode to, a first space kept", async () => {
  let spaces = 0;
  for (let seed = 0; seed < 12; seed++) {
    const { text, logprobs } = await complete({ prompt: "ab cd", seed, logprobs: 0 });
    if (text.startsWith(" ")) spaces++;
    if (text.includes("\ufffd")) continue; // bytes that are no text come in other pieces than their tokens
    expect(text).toBe(logprobs.tokens.join(""));
    expect(tokenizer.decode(tokenizer.encode(`ab cd${text}`))).toBe(`ab cd${text}`);
  }
  expect(spaces).toBeGreaterThan(2);
});

it("a text that begins with the answer has no space in front, and pieces of a decoder that continues keep it", () => {
  const ids = tokenizer.encode("ab cd", { addSpecialTokens: false });
  const joined = (options?: { continues: boolean }) => {
    const decoder = tokenizer.decoder(options);
    return ids.map((id) => decoder.push(id)).join("") + decoder.end();
  };
  expect(joined()).toBe("ab cd");
  expect(joined({ continues: true })).toBe(" ab cd");
});

// Trains a byte-level BPE tokenizer and writes it as Hugging Face's tokenizer.json (Sennrich et al. 2016; GPT-2's bytes).

/** How text is cut before merging: GPT-2's pattern, the one `ByteLevel` with `use_regex` applies. */
const PIECES = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

export const SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/**
 * Trains `vocabSize` tokens (special tokens, 256 bytes, merges) on the texts. Ties go to the pair that sorts first, so
 * the same text gives the same tokenizer. A pair seen once is never merged, so the vocabulary may come out smaller.
 * @param {Iterable<string>} texts
 * @param {number} vocabSize
 */
export function trainTokenizer(texts, vocabSize) {
  const pieces = countPieces(texts);
  const vocab = [...SPECIAL_TOKENS, ...BYTE_CHARS];
  const merges = [];
  while (vocab.length < vocabSize) {
    const pair = mostFrequentPair(pieces);
    if (pair === undefined) break;
    merges.push(pair);
    vocab.push(pair[0] + pair[1]);
    for (const piece of pieces) merge(piece.tokens, pair);
  }
  return tokenizerJson(vocab, merges);
}

function countPieces(texts) {
  const counts = new Map();
  for (const text of texts)
    for (const [piece] of text.matchAll(PIECES)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  return [...counts].map(([text, count]) => ({ count, tokens: [...Buffer.from(text)].map((b) => BYTE_CHARS[b]) }));
}

function mostFrequentPair(pieces) {
  const counts = new Map();
  for (const { count, tokens } of pieces) {
    for (let i = 1; i < tokens.length; i++) {
      const key = `${tokens[i - 1]} ${tokens[i]}`;
      counts.set(key, (counts.get(key) ?? 0) + count);
    }
  }
  let best;
  for (const [key, count] of counts) {
    if (count > 1 && (!best || count > best.count || (count === best.count && key < best.key))) best = { key, count };
  }
  return best?.key.split(" ");
}

function merge(tokens, [left, right]) {
  for (let i = 0; i + 1 < tokens.length; i++) {
    if (tokens[i] === left && tokens[i + 1] === right) tokens.splice(i, 2, left + right);
  }
}

/** GPT-2's printable stand-in for every byte value. */
const BYTE_CHARS = byteChars();

function byteChars() {
  const printable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
}

function tokenizerJson(vocab, merges) {
  const special = (content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map(special),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab.map((token, id) => [token, id])),
      merges,
    },
  };
}

import { UserError } from "../../tensor/index.js";

/** tokenizer.json's byte-level step as GPT-2 has it. */
export const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

/** How text is cut into words before it is merged. */
export interface PreTokenizer {
  /** tokenizer.json's normaliser; llama.cpp has none. */
  readonly normalizer?: { readonly type: "NFC" };
  readonly steps: readonly object[];
  /** What llama.cpp assumes where the file does not say. */
  readonly addBos: boolean;
  /** A word that is a token is taken whole, without merges. */
  readonly ignoreMerges: boolean;
}

const split = (Regex: string): object => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
const DIGITS = { type: "Digits", individual_digits: true };
const BYTES = { ...BYTE_LEVEL, use_regex: false };
const plain = { addBos: false, ignoreMerges: false };

/** English endings in either case, which many expressions begin with. */
const ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const WORD = `${ENDINGS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+`;
const SIGNS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*";
const UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";
const BEFORE = "[^\\r\\n\\p{L}\\p{N}]?";
const SIGNS_AND_SLASHES = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*";
const ASCII_SIGNS = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]";

const GPT2: PreTokenizer = { ...plain, steps: [BYTE_LEVEL] };
const SMOLLM: PreTokenizer = { ...plain, steps: [DIGITS, BYTE_LEVEL] };
const THREE_DIGITS = split(`${WORD}|\\p{N}{1,3}|${SIGNS}|${SPACES}`);
const LLAMA3: PreTokenizer = { steps: [THREE_DIGITS, BYTES], addBos: true, ignoreMerges: true };
const SMAUG: PreTokenizer = { ...plain, steps: [THREE_DIGITS, BYTES] };
const ONE_DIGIT: PreTokenizer = { ...plain, steps: [split(`${WORD}|\\p{N}|${SIGNS}|${SPACES}`), BYTES] };
const QWEN2: PreTokenizer = { ...ONE_DIGIT, normalizer: { type: "NFC" } };
const CASED = [`${BEFORE}${UPPER}*${LOWER}+`, `${BEFORE}${UPPER}+${LOWER}*`] as const;
const TEKKEN: PreTokenizer = {
  steps: [split(`${CASED.join("|")}|\\p{N}|${SIGNS_AND_SLASHES}|${SPACES}`), BYTES],
  addBos: true,
  ignoreMerges: true,
};
const GPT4O: PreTokenizer = {
  ...plain,
  steps: [
    split(`${CASED.map((word) => `${word}${ENDINGS}?`).join("|")}|\\p{N}{1,3}|${SIGNS_AND_SLASHES}|${SPACES}`),
    BYTES,
  ],
};
const HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+";
const DEEPSEEK_V3: PreTokenizer = {
  ...plain,
  steps: [
    split("\\p{N}{1,3}"),
    split(HAN_AND_KANA),
    split(`${ASCII_SIGNS}[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|${SPACES}`),
    BYTES,
  ],
};
const EAST_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";
const DEEPSEEK_CODER: PreTokenizer = {
  ...plain,
  steps: [split("[\\r\\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split(EAST_ASIAN), DIGITS, BYTES],
};

/**
 * `tokenizer.ggml.pre` -> how text is split before merging: the names that llama.cpp knows and whose splitting is here
 * (llama-vocab.cpp), each as the models that go by it have it in tokenizer.json. Of names for the same, the first is written.
 */
const TABLE: readonly (readonly [names: string, PreTokenizer])[] = [
  ["gpt-2 default phi-2 gigachat a.x-4.0 mellum mpt olmo jais trillion exaone4 granite-docling", GPT2],
  ["smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", SMOLLM],
  ["llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", LLAMA3],
  ["smaug-bpe dbrx", SMAUG],
  ["qwen2 stablelm2 megrez kormo", QWEN2],
  ["deepseek-r1-qwen hunyuan grok-2 solar-open", ONE_DIGIT],
  ["tekken", TEKKEN],
  ["gpt-4o llama4 kanana2 minimax-m2", GPT4O],
  ["deepseek-v3 hunyuan-dense joyai-llm", DEEPSEEK_V3],
  ["deepseek-coder", DEEPSEEK_CODER],
];

const BY_NAME: ReadonlyMap<string, PreTokenizer> = new Map(
  TABLE.flatMap(([names, pre]) => names.split(" ").map((name) => [name, pre] as const)),
);

/** The splitting that a `tokenizer.ggml.pre` names. Throws UserError naming those that are known. */
export function preTokenizer(name: string, where: string): PreTokenizer {
  const found = BY_NAME.get(name);
  if (found) return found;
  const known = [...BY_NAME.keys()].join(", ");
  throw new UserError(`${where}: tokenizer.ggml.pre ${JSON.stringify(name)} is not supported (supported: ${known})`);
}

/** A step of tokenizer.json's normaliser or pre-tokenizer. */
export interface Step {
  readonly type?: string;
  readonly pretokenizers?: readonly Step[];
  readonly normalizers?: readonly Step[];
  readonly [key: string]: unknown;
}

/** A sequence's steps, one step alone, or none. */
export function stepsOf(step: Step | null | undefined): readonly Step[] {
  if (!step) return [];
  return step.type === "Sequence" ? (step.pretokenizers ?? step.normalizers ?? []).flatMap(stepsOf) : [step];
}

/** What decides how a step splits, with the library's defaults filled in. */
function essence(step: Step): string {
  const { type, pattern, behavior, invert, individual_digits: digits } = step;
  if (type !== "ByteLevel") return JSON.stringify({ type, pattern, behavior, invert: invert ?? false, digits });
  return JSON.stringify({ type, useRegex: step.use_regex ?? true, prefix: step.add_prefix_space ?? true });
}

const DIGITS_ALONE = new Set(["\\p{N}", "\\d", "[0-9]"].map((regex) => essence(split(regex) as Step)));

/** Digits split off one by one are one step however they are written, and so is an expression in a group of its own. */
function essences(steps: readonly Step[]): string {
  return steps
    .map((step) => {
      const pattern = step.pattern as { Regex?: string } | undefined;
      const whole = /^\((?:\?:)?((?:[^()]|\\[()])*)\)$/.exec(pattern?.Regex ?? "")?.[1];
      const text = essence(whole === undefined ? step : { ...step, pattern: { Regex: whole } });
      return DIGITS_ALONE.has(text) ? essence(DIGITS) : text;
    })
    .join();
}

/** The name of the splitting that a tokenizer.json has; undefined where llama.cpp has none that is known here. */
export function preTokenizerName(
  normalizer: Step | null | undefined,
  pre: Step | null | undefined,
  ignoreMerges: boolean,
): string | undefined {
  const [normal, steps] = [stepsOf(normalizer), essences(stepsOf(pre))];
  const found = TABLE.find(([, known]) => {
    const sameNormalizer = normal.map(({ type }) => type).join() === (known.normalizer?.type ?? "");
    return sameNormalizer && known.ignoreMerges === ignoreMerges && essences(known.steps as Step[]) === steps;
  });
  return found?.[0].split(" ")[0];
}

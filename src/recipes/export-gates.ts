import { mergedValues } from "../checkpoint/gguf-export.js";
import type { OpenModel } from "../checkpoint/model-folder.js";
import type { Adapter } from "../checkpoint/peft.js";
import { encodeValues, type GgufWeightType } from "../checkpoint/quants-encode.js";
import { Decoder, type ResidentAdapter, Sequence } from "../generation/decoder.js";
import { UserError } from "../tensor/index.js";
import { codecOf } from "../tensor/quants.js";
import type { ChatTemplate, Message } from "../tokenizers/chat-template.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { ResidentModel } from "./load-model.js";

/** Something that an export was held against, and passed. */
export interface GateResult {
  readonly gate: string;
  readonly found: string;
}

/** Tokens decoded from the probe prompt. */
const TOKENS = 12;
/** Largest drift let through, as a share of the largest logit: what storing the weights in this type can do. */
export const DRIFT: Readonly<Record<string, number>> = {
  f32: 1e-3,
  f16: 2e-2,
  bf16: 1e-1,
  q8_0: 1e-1,
  q4_1: 0.6,
  q4_0: 0.6,
};

const TEXTS = [
  "The capital of France is",
  "  two spaces, a\ttab\n\nand 12345 numbers; it's done.",
  "na\u00efve caf\u00e9 \u4f60\u597d \ud83d\ude00 <|im_end|></s>",
  "",
];
const CHATS: readonly (readonly Message[])[] = [
  [{ role: "user", content: "What is the capital of France?" }],
  [
    { role: "system", content: "Answer in one word." },
    { role: "user", content: "What is 2 + 2?" },
    { role: "assistant", content: "Four." },
    { role: "user", content: "And \u00e9?" },
  ],
];

export interface Speaker {
  readonly tokenizer: Tokenizer;
  readonly chat?: ChatTemplate;
}

/** The same text gives the same ids, and the same conversation the same prompt, before and after. Throws UserError. */
export async function tokenGate(before: Speaker, after: Speaker): Promise<GateResult> {
  const differs = (what: string) =>
    new UserError(`the export's tokenizer gives other ids than the adapter's for ${what}; it was not kept`);
  const same = (a: readonly number[], b: readonly number[]) => a.join() === b.join();
  for (const text of TEXTS) {
    if (!same(before.tokenizer.encode(text), after.tokenizer.encode(text))) throw differs(JSON.stringify(text));
  }
  if ((before.chat === undefined) !== (after.chat === undefined))
    throw new UserError("the export lost the chat template; it was not kept");
  if (!before.chat || !after.chat)
    return { gate: "same prompt, same ids", found: `${TEXTS.length} texts; no chat template` };
  for (const messages of CHATS) {
    const request = [{ messages, addGenerationPrompt: true }];
    const [[a], [b]] = [await before.chat.renderMany(request), await after.chat.renderMany(request)];
    if ("error" in a! && "error" in b!) continue; // this template refuses such conversations, on both sides
    if ("error" in a! || "error" in b! || a!.text !== b!.text) {
      throw new UserError("the export's chat template writes another prompt than the adapter's; it was not kept");
    }
    const ids = (speaker: Speaker) => speaker.tokenizer.encode(a!.text, { addSpecialTokens: false });
    if (!same(ids(before), ids(after))) throw differs("a conversation");
  }
  return {
    gate: "same prompt, same ids",
    found: `${TEXTS.length} texts, ${CHATS.length} conversations through the template`,
  };
}

/** The ids that the gates' runs begin with. */
export async function probeIds({ tokenizer, chat }: Speaker, context: number): Promise<number[]> {
  const ids = chat ? await chat.encode(CHATS[0]!, { addGenerationPrompt: true }) : tokenizer.encode(TEXTS[0]!);
  return ids.slice(0, Math.max(1, context - TOKENS));
}

/** Greedy tokens after a prompt, and the logits each was chosen from. */
export interface Observed {
  readonly tokens: readonly number[];
  readonly logits: readonly Float32Array[];
}

/** Decodes greedily; with `forced` tokens those are fed instead, so that every position has the same past. */
export async function observe(
  model: ResidentModel,
  prompt: readonly number[],
  adapter?: ResidentAdapter,
  forced?: readonly number[],
): Promise<Observed> {
  const decoder = new Decoder(model);
  const sequence = new Sequence(decoder, prompt.length + TOKENS, adapter);
  try {
    const [tokens, logits]: [number[], Float32Array[]] = [[], []];
    for (let next = [...prompt]; tokens.length < TOKENS; next = [forced?.[tokens.length - 1] ?? tokens.at(-1)!]) {
      const row = (await sequence.feed(next)).slice();
      logits.push(row);
      tokens.push(row.indexOf(row.reduce((most, x) => Math.max(most, x), Number.NEGATIVE_INFINITY)));
    }
    return { tokens, logits };
  } finally {
    sequence.dispose();
    decoder.dispose();
  }
}

/** Largest absolute difference of two observations' logits; of one, its largest logit. NaN when either holds one. */
export function worst(a: Observed, b?: Observed): number {
  let most = 0;
  for (const [i, row] of a.logits.entries()) {
    for (let j = 0; j < row.length; j++) {
      const difference = Math.abs(row[j]! - (b?.logits[i]?.[j] ?? 0));
      if (!(difference <= most)) most = difference;
    }
  }
  return most;
}

/** "12 of 12": positions at which both choose the same token. */
export function agreement(a: Observed, b: Observed): string {
  return `${a.tokens.filter((token, i) => token === b.tokens[i]).length} of ${a.tokens.length}`;
}

/** Replaces resident base weights by base + adapter, stored as `typeOf` says and read back: what an export should compute. */
export async function mergeResident(
  resident: ResidentModel,
  base: OpenModel,
  adapter: Adapter,
  typeOf: (name: string) => string,
): Promise<void> {
  for (const [name, view] of resident.weights) {
    const type = typeOf(name);
    const adapted = adapter.tensors.has(name.replace(/\.weight$/, ".lora_A.weight"));
    if (type === "f32" && !adapted) continue;
    resident.device.upload(view, rounded(name, await mergedValues(base, adapter, name), type as GgufWeightType));
    await resident.device.flush();
  }
}

function rounded(name: string, values: Float32Array, type: GgufWeightType): Float32Array {
  if (type === "f32") return values;
  const codec = codecOf(type)!;
  const chunk = 2 ** 19;
  for (let at = 0; at < values.length; at += chunk) {
    const part = values.subarray(at, at + chunk);
    codec.decode(encodeValues(name, type, part), 0, part, 0, part.length / codec.block);
  }
  return values;
}

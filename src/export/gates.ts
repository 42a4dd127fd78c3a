import { type Adapter, adaptedModule, adaptedModules } from "../formats/peft/adapter.js";
import { modulePath } from "../models/lora-config.js";
import type { GgufWeightType } from "../tensor/codecs/quants-encode.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import type { ChatTemplate, Message } from "../tokenizers/chat-template.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { OpenModel } from "../weights/model-folder.js";

/** Something that an export was held against, and passed. */
export interface GateResult {
  readonly gate: string;
  readonly found: string;
}

/** At most so many tokens of the prompt that the last gate continues. */
const PROBE_TOKENS = 48;

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
    new UserError(`the export's tokenizer gives other ids than the adapter's for ${what}; it was not kept`, {
      code: "not_the_same",
    });
  const same = (a: readonly number[], b: readonly number[]) => a.join() === b.join();
  for (const text of TEXTS) {
    if (!same(before.tokenizer.encode(text), after.tokenizer.encode(text))) throw differs(JSON.stringify(text));
  }
  if ((before.chat === undefined) !== (after.chat === undefined))
    throw new UserError("the export lost the chat template; it was not kept", { code: "not_the_same" });
  if (!before.chat || !after.chat)
    return { gate: "same prompt, same ids", found: `${TEXTS.length} texts; no chat template` };
  for (const messages of CHATS) {
    const request = [{ messages, addGenerationPrompt: true }];
    const [[a], [b]] = [await before.chat.renderMany(request), await after.chat.renderMany(request)];
    if ("error" in a! && "error" in b!) continue; // this template refuses such conversations, on both sides
    if ("error" in a! || "error" in b! || a!.text !== b!.text) {
      throw new UserError("the export's chat template writes another prompt than the adapter's; it was not kept", {
        code: "not_the_same",
      });
    }
    const ids = (speaker: Speaker) => speaker.tokenizer.encode(a!.text, { addSpecialTokens: false });
    if (!same(ids(before), ids(after))) throw differs("a conversation");
  }
  return {
    gate: "same prompt, same ids",
    found: `${TEXTS.length} texts, ${CHATS.length} conversations through the template`,
  };
}

/** The prompt that the last gate continues. */
export async function probeIds({ tokenizer, chat }: Speaker, context: number): Promise<number[]> {
  const ids = chat ? await chat.encode(CHATS[0]!, { addGenerationPrompt: true }) : tokenizer.encode(TEXTS[0]!);
  return ids.slice(0, Math.min(context, PROBE_TOKENS));
}

/** Every module has the scale and the factors that it had, up to the rounding of `type`. Throws UserError. */
export function scaleGate(before: Adapter, after: Adapter, type: GgufWeightType): GateResult {
  const slack = { f16: 2 ** -10, bf16: 2 ** -7 }[type as string] ?? 2 ** -22;
  const modules = adaptedModules(before);
  for (const { layer, name, scale, a, b } of modules) {
    const path = modulePath(layer, name);
    const other = adaptedModule(after, path);
    const same = other && near(a, 1, other.a, 1, slack) && near(b, scale, other.b, other.scale, slack);
    if (!same)
      throw new UserError(`${path} is not in the export as it is in the adapter; it was not kept`, {
        code: "not_the_same",
      });
  }
  const scales = [...new Set(modules.map(({ scale }) => scale))].sort((x, y) => x - y);
  const [least, most] = [scales[0]!.toPrecision(6), scales.at(-1)!.toPrecision(6)];
  const { alpha, r, useRslora } = before.config;
  const how = scales.length > 1 ? "by patterns" : `alpha ${alpha}, r ${r}${useRslora ? ", rsLoRA" : ""}`;
  return { gate: "effective scale", found: `${least === most ? least : `${least} to ${most}`}, as trained (${how})` };
}

/** Whether two tensors, each times its factor, are the same up to a relative rounding. */
function near(a: HostTensor, factor: number, b: HostTensor, other: number, slack: number): boolean {
  const least = slack * 2 ** -14;
  return (
    a.data.length === b.data.length &&
    (a.data as Float32Array).every((x, i) => {
      const expected = x * factor;
      return Math.abs(expected - (b.data as Float32Array)[i]! * other) <= slack * Math.abs(expected) + least;
    })
  );
}

/** The head is tied where it was, and nowhere else. Throws UserError. */
export function tiedGate(before: OpenModel, after: OpenModel): GateResult {
  const tied = before.config.tieWordEmbeddings;
  if (after.config.tieWordEmbeddings !== tied || after.tensors.tensors.has("lm_head.weight") === tied)
    throw new UserError("the export's head is not tied as the base's is; it was not kept", { code: "not_the_same" });
  return { gate: "tied head", found: tied ? "tied, as in the base" : "a head of its own, as in the base" };
}

import { type EncodedPrompt, type GenerateTextOptions, generate } from "../recipes/generate.js";
import type { TokenLogprob } from "../recipes/logprobs.js";
import type { LoadedModel } from "../recipes/model.js";
import { splitThoughts, type Thoughts } from "../recipes/thoughts.js";
import type { AnswerReader, CallPiece } from "../recipes/tools/answer-reader.js";
import type { ToolFormat } from "../tokenizers/tools/index.js";
import type { IdentifiedCall, Piece, Usage } from "./answer.js";

interface OneAnswer {
  readonly index: number;
  /** Whether the prompt counts: it is the first answer to it. */
  readonly first: boolean;
  readonly usage: Usage;
  readonly idOf: (call: number, format: ToolFormat) => string;
}

/** One text, piece by piece: what the model thinks, says and calls. Throws the signal's reason once it is aborted. */
export async function* oneAnswer(
  model: LoadedModel,
  prompt: EncodedPrompt,
  options: GenerateTextOptions & { readonly signal: AbortSignal },
  { index, first, usage, idOf }: OneAnswer,
): AsyncGenerator<Piece, void> {
  let tokens: TokenLogprob[] | undefined = options.logprobs === undefined ? undefined : [];
  const run = generate(model, prompt, { ...options, onToken: (token) => void tokens?.push(token) });
  const thoughts = thoughtsOf(prompt, options);
  const reader = await readerFor(prompt, options);
  const told = (text: string, reasoning = "", end = false) => {
    const parts = reader ? [reader.push(text), ...(end ? [reader.end()] : [])] : [{ text, calls: [] }];
    const calls = parts.flatMap((part) => part.calls).map((piece) => identified(piece, prompt, idOf));
    return { text: parts.map((part) => part.text).join(""), ...(reasoning ? { reasoning } : {}), calls };
  };
  for await (const made of run) {
    usage.firstAt ??= model.platform.now();
    const split = thoughts?.push(made) ?? { reasoning: "", text: made };
    const said = told(split.text, split.reasoning);
    if (said.text === "" && !said.reasoning && said.calls.length === 0 && !tokens?.length) continue;
    yield { index, ...said, tokens, finishReason: null };
    tokens &&= [];
  }
  const { promptIds, tokenIds, finishReason } = await run.result();
  if (first) usage.promptTokens += promptIds.length;
  usage.completionTokens += tokenIds.length;
  usage.answers = (usage.answers ?? 0) + 1;
  if (thoughts?.length) {
    usage.reasoningTokens = (usage.reasoningTokens ?? 0) + tokensWithin(model.tokenizer, tokenIds, thoughts.length);
  }
  if (finishReason === "abort") throw options.signal.reason;
  const rest = thoughts?.end();
  const last = told(rest?.text ?? "", rest?.reasoning, true);
  yield {
    index,
    ...last,
    tokens,
    finishReason: finishReason === "stop" && reader?.calls ? "tool_calls" : finishReason,
  };
}

/** Splits off what a conversation's answer begins with, unless it has to fit a schema or to be a call from its first token on. */
function thoughtsOf(
  { thinks }: EncodedPrompt,
  { responseFormat, toolCalling }: GenerateTextOptions,
): Thoughts | undefined {
  const free = !responseFormat && (!toolCalling || toolCalling.choice === "auto" || toolCalling.choice === "none");
  return thinks !== undefined && free ? splitThoughts(thinks) : undefined;
}

/** Reads calls out of an answer that may have some; readers are loaded only then. */
async function readerFor(
  { toolFormat }: EncodedPrompt,
  { toolCalling }: GenerateTextOptions,
): Promise<AnswerReader | undefined> {
  if (!toolCalling || toolCalling.choice === "none" || !toolFormat) return undefined;
  const { createAnswerReader } = await import("../recipes/tools/answer-reader.js");
  return createAnswerReader(toolFormat, new Set(toolCalling.tools.map(({ name }) => name)));
}

function identified(piece: CallPiece, { toolFormat }: EncodedPrompt, idOf: OneAnswer["idOf"]): IdentifiedCall {
  return piece.name === undefined ? piece : { ...piece, id: idOf(piece.call, toolFormat!) };
}

/** How many tokens the first characters of an answer were made of. */
function tokensWithin(tokenizer: LoadedModel["tokenizer"], ids: readonly number[], characters: number): number {
  const stream = tokenizer.decoder();
  let [count, length] = [0, 0];
  for (; count < ids.length && length < characters; count++) length += stream.push(ids[count]!).length;
  return count;
}

import type { AdapterRegistry } from "../recipes/adapter-registry.js";
import { type GenerateTextOptions, generate, type Prompt } from "../recipes/generate.js";
import type { TokenLogprob } from "../recipes/logprobs.js";
import type { LoadedModel } from "../recipes/model.js";
import { random } from "../tensor/index.js";
import { ApiError, unknownModel } from "./errors.js";
import type { ServerLimits } from "./limits.js";
import type { Asked } from "./schema.js";
import { sideBySide } from "./side-by-side.js";
import type { Slots } from "./slots.js";

/** What all requests of a server share. */
export interface Service {
  readonly registry: AdapterRegistry;
  /** What the bare base is called. */
  readonly baseId: string;
  readonly slots: Slots;
  readonly limits: ServerLimits;
  /** Requests without a seed draw theirs from this one. */
  readonly seed: number;
}

export interface Usage {
  promptTokens: number;
  completionTokens: number;
}

/** A piece of answer number `index`; the last one of an answer has no text and says why it ended. */
export interface Piece {
  readonly index: number;
  readonly text: string;
  /** The tokens whose text begins in this piece, where log probabilities were asked for. */
  readonly tokens: readonly TokenLogprob[] | undefined;
  readonly finishReason: "stop" | "length" | null;
}

/**
 * Answers a request piece by piece: it waits for a slot, takes more for its other answers while some are free, holds an adapter
 * while it generates, and gives all back however it ends. `usage` is counted up as tokens are made. Throws ApiError, UserError, and the signal's reason once it is aborted.
 */
export async function* answer(
  { registry, baseId, slots, limits, seed }: Service,
  asked: Asked,
  call: { readonly number: number; readonly signal: AbortSignal; readonly usage: Usage },
): AsyncGenerator<Piece, void> {
  const timeout = new AbortController();
  const timer = setTimeout(() => {
    timeout.abort(new ApiError(503, `the request took longer than ${limits.seconds} s`, { code: "timeout" }));
  }, limits.seconds * 1000);
  const signal = AbortSignal.any([call.signal, timeout.signal]);
  let free: (() => void) | undefined;
  let release: (() => void) | undefined;
  try {
    checkModel(registry, baseId, asked);
    free = await slots.acquire(signal);
    checkModel(registry, baseId, asked);
    const lease = asked.model === baseId ? undefined : registry.lease(asked.model, asked.adapterScale);
    release = lease?.release;
    const base = asked.options.seed ?? random(seed, "request", call.number).int32();
    const starts = asked.prompts.flatMap((prompt, at) =>
      Array.from({ length: asked.n }, (_, i) => () => {
        const index = at * asked.n + i;
        const options = { ...asked.options, seed: base + index, adapter: lease?.adapter, signal };
        return oneAnswer(registry.model, prompt, options, { index, first: i === 0, usage: call.usage });
      }),
    );
    const room = () => (slots.active < limits.slots && slots.waiting === 0 ? slots.acquire(signal) : undefined);
    yield* sideBySide(starts, room);
  } finally {
    clearTimeout(timer);
    release?.();
    free?.();
  }
}

/** One text; its prompt counts where it is the first of that prompt. */
async function* oneAnswer(
  model: LoadedModel,
  prompt: Prompt,
  options: GenerateTextOptions & { readonly signal: AbortSignal },
  { index, first, usage }: { readonly index: number; readonly first: boolean; readonly usage: Usage },
): AsyncGenerator<Piece, void> {
  let tokens: TokenLogprob[] | undefined = options.logprobs === undefined ? undefined : [];
  const run = generate(model, prompt, { ...options, onToken: (token) => void tokens?.push(token) });
  for await (const text of run) {
    yield { index, text, tokens, finishReason: null };
    tokens &&= [];
  }
  const { promptIds, tokenIds, finishReason } = await run.result();
  if (first) usage.promptTokens += promptIds.length;
  usage.completionTokens += tokenIds.length;
  if (finishReason === "abort") throw options.signal.reason;
  yield { index, text: "", tokens, finishReason };
}

/** Throws ApiError 404 for a model that is not served. */
export function checkModel(
  registry: AdapterRegistry,
  baseId: string,
  asked: Pick<Asked, "model" | "adapterScale">,
): void {
  const names = [baseId, ...registry.names()];
  if (!names.includes(asked.model))
    throw unknownModel(asked.model, names, (name) => `${name} is not served; served are ${names.join(", ")}`);
  if (asked.model === baseId && asked.adapterScale !== undefined) {
    throw new ApiError(400, "adapter_scale: the base has no adapter to scale", { param: "adapter_scale" });
  }
}

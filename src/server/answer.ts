import type { AdapterLease, AdapterRegistry } from "../recipes/adapter-registry.js";
import { type EncodedPrompt, encodePrompt } from "../recipes/generate.js";
import type { TokenLogprob } from "../recipes/logprobs.js";
import type { CallPiece } from "../recipes/tools/answer-reader.js";
import { type Random, random } from "../tensor/index.js";
import type { ToolFormat } from "../tokenizers/tools/index.js";
import { ApiError, unknownModel } from "./errors.js";
import type { ServerLimits } from "./limits.js";
import { oneAnswer } from "./one-answer.js";
import { parseJson } from "./read-json.js";
import type { Asked } from "./schema.js";
import { sideBySide } from "./side-by-side.js";
import type { Slots } from "./slots.js";

/** What all requests of a server share. */
export interface Service {
  readonly registry: AdapterRegistry;
  /** What the bare base is called. */
  readonly baseId: string;
  readonly slots: Slots;
  /** Through here large requests are read and tokenised, one at a time. */
  readonly large: Slots;
  readonly limits: ServerLimits;
  /** Requests without a seed draw theirs from this one. */
  readonly seed: number;
}

export interface Usage {
  promptTokens: number;
  completionTokens: number;
  /** Those of them in which the model thought before it answered. Default: none. */
  reasoningTokens?: number;
  /** Milliseconds since 1970 when the first text was there. Default: none is yet. */
  firstAt?: number;
  /** Texts that are made for it. Default: none yet. */
  answers?: number;
}

/** A piece of answer number `index`; the last one of an answer has no text and says why it ended. */
export interface Piece {
  readonly index: number;
  readonly text: string;
  /** What the model thinks before its answer, in a conversation. Default: nothing. */
  readonly reasoning?: string;
  /** What of calls of tools came with this piece. */
  readonly calls: readonly IdentifiedCall[];
  /** The tokens whose text begins in this piece, where log probabilities were asked for. */
  readonly tokens: readonly TokenLogprob[] | undefined;
  /** `tool_calls`: it stopped, and called. */
  readonly finishReason: "stop" | "length" | "tool_calls" | null;
}

/** A piece of a call, with the call's id where the piece is its first. */
export interface IdentifiedCall extends CallPiece {
  readonly id?: string;
}

/** What every request says: who is to answer what. */
export type Named = Pick<Asked, "model" | "adapterScale" | "prompts">;

/** A request that was read, its prompts as tokens for the adapter that `lease` gave then. */
export interface Ready<T extends Named = Asked> {
  readonly asked: T;
  readonly prompts: readonly EncodedPrompt[];
  readonly lease: AdapterLease | undefined;
}

/** Characters of a body from which it is large: smaller ones are read and tokenised in some milliseconds. */
const LARGE = 2 ** 15;

/**
 * Reads a request and tokenises its prompts. Large ones take turns, in the order they came, and small ones pass them by.
 * `known` is told the model once it is one that is served. Throws ApiError, UserError, and the signal's reason.
 */
export async function prepare<T extends Named>(
  service: Service,
  body: string,
  read: (body: Record<string, unknown>, limits: ServerLimits) => T,
  { signal, known }: { readonly signal: AbortSignal; readonly known: (model: string) => void },
): Promise<Ready<T>> {
  const { registry, baseId, limits } = service;
  const free = body.length > LARGE ? await service.large.acquire(signal) : undefined;
  try {
    if (free) await othersFirst();
    const asked = read(parseJson(body, limits), limits);
    checkModel(registry, baseId, asked);
    known(asked.model);
    const lease = leaseOf(service, asked);
    try {
      return { asked, prompts: await encodeAll(service, asked, lease, signal), lease };
    } finally {
      lease?.release();
    }
  } finally {
    free?.();
  }
}

const othersFirst = () => new Promise((resolve) => setTimeout(resolve));

/** The adapter that a request names; undefined: the base. */
export function leaseOf(
  { registry, baseId }: Service,
  { model, adapterScale }: Pick<Asked, "model" | "adapterScale">,
): AdapterLease | undefined {
  return model === baseId ? undefined : registry.lease(model, adapterScale);
}

async function encodeAll(
  { registry }: Service,
  { prompts }: Named,
  lease: AdapterLease | undefined,
  signal: AbortSignal,
): Promise<EncodedPrompt[]> {
  const encoded: EncodedPrompt[] = [];
  for (const prompt of prompts) {
    signal.throwIfAborted();
    encoded.push(await encodePrompt(registry.model, prompt, { adapter: lease?.adapter, signal }));
  }
  return encoded;
}

/**
 * Answers a request piece by piece: it waits for a slot, takes more for its other answers while some are free, holds an adapter
 * while it generates, and gives all back however it ends. `usage` is counted up as tokens are made. Throws ApiError, UserError, and the signal's reason once it is aborted.
 */
export async function* answer(
  service: Service,
  ready: Ready,
  { number, signal, usage }: { readonly number: number; readonly signal: AbortSignal; readonly usage: Usage },
): AsyncGenerator<Piece, void> {
  const { registry, baseId, slots, limits, seed } = service;
  const { asked } = ready;
  let free: (() => void) | undefined;
  let lease: AdapterLease | undefined;
  try {
    free = await slots.acquire(signal);
    checkModel(registry, baseId, asked);
    lease = leaseOf(service, asked);
    // While it waited another adapter may have got the name, with a template of its own.
    const same = lease?.adapter.adapter === ready.lease?.adapter.adapter;
    const prompts = same ? ready.prompts : await encodeAll(service, asked, lease, signal);
    const base = asked.options.seed ?? random(seed, "request", number).int32();
    const starts = prompts.flatMap((prompt, at) =>
      Array.from({ length: asked.n }, (_, i) => () => {
        const index = at * asked.n + i;
        const options = { ...asked.options, seed: base + index, adapter: lease?.adapter, signal };
        const idOf = (call: number, format: ToolFormat) => callId(random(seed, "call", number, index, call), format);
        return oneAnswer(registry.model, prompt, options, { index, first: i === 0, usage, idOf });
      }),
    );
    const room = () => (slots.active < limits.slots && slots.waiting === 0 ? slots.acquire(signal) : undefined);
    yield* sideBySide(starts, room);
  } finally {
    lease?.release();
    free?.();
  }
}

/** A signal that also ends a request that takes too long; `done` is to be called when it is over. */
export function withDeadline(
  signal: AbortSignal,
  { seconds }: ServerLimits,
): { readonly signal: AbortSignal; done(): void } {
  const timeout = new AbortController();
  const timer = setTimeout(() => {
    timeout.abort(new ApiError(503, `the request took longer than ${seconds} s`, { code: "timeout" }));
  }, seconds * 1000);
  return { signal: AbortSignal.any([signal, timeout.signal]), done: () => clearTimeout(timer) };
}

/** An id of a call, in the form that the model's chat template takes. */
function callId(rng: Random, { ids }: ToolFormat): string {
  const drawn = (count: number) => Array.from({ length: count }, () => rng.below(36).toString(36)).join("");
  return ids === undefined ? `call_${drawn(24)}` : drawn(9);
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

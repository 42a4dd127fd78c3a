/** How the next token is chosen. Temperature 0 is greedy. Defaults: temperature 0, topP 1, topK 0 (off). */
export interface SamplingOptions {
  /** Logits are divided by this; 0 takes the likeliest token always. Default 0. */
  readonly temperature?: number;
  /** Only the likeliest tokens that together have this probability, 0 to 1. Default 1: all. */
  readonly topP?: number;
  /** Only so many of the likeliest tokens. Default 0: all. */
  readonly topK?: number;
  /** Only tokens with at least this share of the likeliest one's probability. Default 0: all. */
  readonly minP?: number;
  /** Logits of tokens that are in the text already are divided by this where positive, else multiplied. Default 1: neither. */
  readonly repetitionPenalty?: number;
  /** Taken from a token's logit once for every time it was generated (not for the prompt's). Default 0. */
  readonly frequencyPenalty?: number;
  /** Taken from a token's logit when it was generated at all. Default 0. */
  readonly presencePenalty?: number;
  /** Added to the logits of these tokens before all else; -100 all but forbids one, 100 all but asks for it alone. Default: none. */
  readonly logitBias?: ReadonlyMap<number, number>;
  /** Seed of the draws, where the temperature is above 0. Default 0. */
  readonly seed?: number;
  /** Tokens that it does not allow are never chosen. Default: all are allowed. */
  readonly constraint?: TokenConstraint;
  /** Told of every chosen token and the model's own logits [V] for its place, before biases, penalties, temperature and constraint. */
  readonly observe?: (id: number, logits: Float32Array) => void;
}

/** Which tokens may come next in one text; at least one always may. */
export interface TokenConstraint {
  allows(id: number): boolean;
  /** All of them, ascending. */
  allowed(): Int32Array;
  /** Goes on after a token was chosen. */
  push(id: number): void;
  /** The text is whole, and nothing may follow it. */
  readonly done: boolean;
  /** There was no room for a token that was asked for: the text would have gone on otherwise. */
  readonly cut: boolean;
}

export interface GenerateOptions extends SamplingOptions {
  readonly maxNewTokens: number;
  /** Token ids that end the text; they are not part of the result's text. */
  readonly stopIds: ReadonlySet<number>;
  readonly signal?: AbortSignal;
  /** Told of each token of the prompt but the first, and the logits [V] for its place, before anything is chosen. */
  readonly observePrompt?: (id: number, logits: Float32Array) => void;
}

export type FinishReason = "stop" | "length" | "abort";

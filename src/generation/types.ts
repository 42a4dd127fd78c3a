/** How the next token is chosen. Temperature 0 is greedy. Defaults: temperature 0, topP 1, topK 0 (off). */
export interface SamplingOptions {
  readonly temperature?: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  /** Taken from a token's logit once for every time it was generated (not for the prompt's). Default 0. */
  readonly frequencyPenalty?: number;
  /** Taken from a token's logit when it was generated at all. Default 0. */
  readonly presencePenalty?: number;
  readonly seed?: number;
  /** Tokens that it does not allow are never chosen. */
  readonly constraint?: TokenConstraint;
  /** Told of every chosen token and the model's own logits [V] for its place, before penalties, temperature and constraint. */
  readonly observe?: (id: number, logits: Float32Array) => void;
}

/** Which tokens may come next in one text; at least one always may. */
export interface TokenConstraint {
  allows(id: number): boolean;
  /** Sets the logits [V] of all others to -Infinity. */
  mask(logits: Float32Array): void;
  /** Goes on after a token was chosen. */
  push(id: number): void;
}

export interface GenerateOptions extends SamplingOptions {
  readonly maxNewTokens: number;
  /** Token ids that end the text; they are not part of the result's text. */
  readonly stopIds: ReadonlySet<number>;
  readonly signal?: AbortSignal;
}

export type FinishReason = "stop" | "length" | "abort";

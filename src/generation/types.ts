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
}

export interface GenerateOptions extends SamplingOptions {
  readonly maxNewTokens: number;
  /** Token ids that end the text; they are not part of the result's text. */
  readonly stopIds: ReadonlySet<number>;
  readonly signal?: AbortSignal;
}

export type FinishReason = "stop" | "length" | "abort";

/** What one server grants its clients. */
export interface ServerLimits {
  /** Texts generated at the same time; each has its own KV cache. Default 16. */
  readonly slots: number;
  /** Requests that may wait for a slot; the next one is refused with 429. Default 64. */
  readonly queue: number;
  /** Bytes of keys and values that are kept of answered requests, for others that begin alike. Default 256 MiB. */
  readonly prefixBytes: number;
  /** Bytes of a request's body. Default 1 MiB. */
  readonly bodyBytes: number;
  /** Bytes of an uploaded file, its form included. Default 512 MiB. */
  readonly uploadBytes: number;
  /** Brackets inside brackets in a request's JSON. Default 32. */
  readonly jsonDepth: number;
  /** Names and values in a request's JSON, all objects together. Default 16384. */
  readonly jsonFields: number;
  /** Bytes of one row of an uploaded file. Default 256 KiB. */
  readonly rowBytes: number;
  /** Messages of one conversation: a request's, or a row's. Default 2048. */
  readonly messages: number;
  /** The most tokens of an answer, whatever `max_tokens` asks for, and what is meant when it is not given. Default 2048. */
  readonly maxTokens: number;
  /** The most answers of one request: `n` times its prompts. Default 8. */
  readonly answers: number;
  /** Answers of /v1/responses that are kept in memory to go on from. Default 256. */
  readonly responses: number;
  /** Bytes of these, each with its whole conversation. Default 64 MiB. */
  readonly responseBytes: number;
  /** Seconds that a request may take, waiting included. Default 300. */
  readonly seconds: number;
}

export const DEFAULT_LIMITS: ServerLimits = {
  slots: 16,
  queue: 64,
  prefixBytes: 2 ** 28,
  bodyBytes: 2 ** 20,
  uploadBytes: 2 ** 29,
  rowBytes: 2 ** 18,
  jsonDepth: 32,
  jsonFields: 2 ** 14,
  messages: 2048,
  maxTokens: 2048,
  answers: 8,
  responses: 256,
  responseBytes: 2 ** 26,
  seconds: 300,
};

import { snakeCase } from "../recipes/names.js";
import { type ErrorCode, nearest, UserError } from "../tensor/index.js";
import { phrased } from "../tensor/option.js";

type ErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "permission_error"
  | "rate_limit_error"
  | "server_error";

/** A refusal in the shape of OpenAI's API reference: `{"error": {"message", "type", "param", "code"}}`. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly status: number;
  readonly type: ErrorType;
  readonly code: string | null;
  readonly param: string | null;
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    status: number,
    message: string,
    options: { code?: string; param?: string; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message);
    this.status = status;
    this.type = TYPES[status] ?? (status < 500 ? "invalid_request_error" : "server_error");
    this.code = options.code ?? null;
    this.param = options.param ?? null;
    this.headers = options.headers ?? {};
  }

  body(): object {
    const { message, type, param, code } = this;
    return { error: { message, type, param, code } };
  }
}

const TYPES: Readonly<Record<number, ErrorType>> = {
  401: "authentication_error",
  403: "permission_error",
  429: "rate_limit_error",
};

/** What a client is told of an error: its own mistakes in full, of others only that they happened. */
export function apiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof UserError) {
    const code = OPENAI_CODES[error.code];
    return new ApiError(400, inParameters(error.message), code === undefined ? {} : { code });
  }
  return new ApiError(500, "the server failed to answer; its log says why");
}

/** What OpenAI calls these kinds of mistake; of the others it has no code. */
const OPENAI_CODES: Partial<Record<ErrorCode, string>> = {
  context_length_exceeded: "context_length_exceeded",
  invalid_rows: "invalid_file_format",
  invalid_value: "invalid_value",
  not_found: "not_found",
};

/** A message with its options as a request's parameters are called. */
export function inParameters(message: string): string {
  return phrased(message, (name, value) => {
    const parameter = name.split(".").map(snakeCase).join(".");
    return value === undefined ? parameter : `${parameter}: ${value}`;
  });
}

/** The 404 for a model that is none of `names`: `why` is told of the model as it is shown, and a near name follows. */
export function unknownModel(model: string, names: readonly string[], why: (shown: string) => string): ApiError {
  const shown = model.slice(0, 200);
  const hint = nearest(shown, names);
  const message = `model: ${why(`'${shown}'`)}${hint ? `. Did you mean '${hint}'?` : ""}`;
  return new ApiError(404, message, { code: "model_not_found", param: "model" });
}

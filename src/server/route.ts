import type { Context } from "hono";
import type { z } from "zod";
import type { Service, Usage } from "./answer.js";
import type { ApiError } from "./errors.js";
import type { FineTuning } from "./fine-tuning/index.js";
import type { ServerLimits } from "./limits.js";
import type { Metrics } from "./metrics.js";

/** What is known of a request while it runs; `end` logs it, once. */
export interface Entry {
  readonly number: number;
  /** What the client called the request in `x-request-id`, or a name of its own; the reply and the log carry it. */
  readonly id: string;
  route: string;
  model?: string;
  readonly usage: Usage;
  end(status: number): void;
  /** A reply that is still being streamed ends later than its handler. */
  streaming: boolean;
}
export type Env = { Variables: { entry: Entry } };
export type Handler = (c: Context<Env>) => Response | Promise<Response>;

/** What the routes share. */
export interface Core {
  readonly service: Service;
  readonly metrics: Metrics;
  readonly fineTuning: FineTuning | undefined;
  readonly started: number;
  now(): number;
  /** What the client is told of an error. */
  failed(error: unknown): ApiError;
}

/** What is answered at one method and path. */
export interface Route {
  /** What it does, in a few words, for the OpenAPI document. */
  readonly summary: string;
  /** The JSON body that it reads. Default: it reads none. */
  readonly body?: (limits: ServerLimits) => z.ZodType;
  readonly handle: Handler;
}

/** Routes by method and path: `GET /v1/models/:id{.+}`. */
export type Routes = Readonly<Record<string, Route>>;

/** Logged of a request whose client left before it was answered. */
export const CLIENT_LEFT = 499;

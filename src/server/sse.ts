import type { Context } from "hono";
import { type ApiError, apiError } from "./errors.js";
import { CLIENT_LEFT, type Core, type Env } from "./route.js";

interface EventReply {
  /** The events as they go over the wire, without the empty line that ends each. */
  readonly events: AsyncGenerator<string, void>;
  /** The event that tells a client of an error after which nothing comes. */
  failure(error: ApiError): string;
  /** To be called when all is over, however it ended. */
  done(): void;
}

/** A reply of server-sent events that are sent as they come; the request's entry ends with the last of them. */
export function eventReply({ failed }: Core, c: Context<Env>, { events, failure, done }: EventReply): Response {
  const entry = c.get("entry");
  const stream = streamOf(events, failure, (outcome) => {
    done();
    const left = outcome === "left" || c.req.raw.signal.aborted;
    entry.end(outcome === undefined ? 200 : left ? CLIENT_LEFT : failed(outcome.error).status);
  });
  entry.streaming = true;
  return c.body(stream, 200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
}

/** `onEnd` is told, once, when all is over: an error, that the client left, or nothing. */
function streamOf(
  events: AsyncGenerator<string, void>,
  failure: (error: ApiError) => string,
  onEnd: (outcome?: { readonly error: unknown } | "left") => void,
): ReadableStream<Uint8Array> {
  const utf8 = new TextEncoder();
  let ended = false;
  const end: typeof onEnd = (outcome) => {
    if (!ended) onEnd(outcome);
    ended = true;
  };
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await events.next();
        if (ended) return;
        if (!done) return controller.enqueue(utf8.encode(`${value}\n\n`));
        end();
      } catch (error) {
        if (ended) return;
        end({ error });
        controller.enqueue(utf8.encode(`${failure(apiError(error))}\n\n`));
      }
      controller.close();
    },
    async cancel() {
      end("left");
      await events.return(undefined);
    },
  });
}

/** The same, its first value made already: what is refused at once still is a reply of its own. */
export async function begun<T>(values: AsyncGenerator<T, void>): Promise<AsyncGenerator<T, void>> {
  return prepend(await values.next(), values);
}

async function* prepend<T>(first: IteratorResult<T, void>, rest: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
  try {
    if (first.done) return;
    yield first.value;
    yield* rest;
  } finally {
    await rest.return();
  }
}

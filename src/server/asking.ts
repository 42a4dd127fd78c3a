import type { Context } from "hono";
import { type Named, prepare, type Ready, withDeadline } from "./answer.js";
import type { ServerLimits } from "./limits.js";
import { readJsonText } from "./read-json.js";
import type { Core, Env, Handler } from "./route.js";

/** A request for text that was read and prepared; `done` ends its deadline, for a reply that goes on after its handler. */
interface Asking<T extends Named> {
  readonly c: Context<Env>;
  readonly ready: Ready<T>;
  readonly signal: AbortSignal;
  readonly done: () => void;
}

/** A handler that reads a request for text with `read` and prepares it, then replies, all before its deadline. */
export function asking<T extends Named>(
  { service }: Core,
  read: (body: Record<string, unknown>, limits: ServerLimits) => T,
  reply: (asking: Asking<T>) => Promise<Response>,
): Handler {
  return async (c) => {
    const entry = c.get("entry");
    const { signal, done } = withDeadline(c.req.raw.signal, service.limits);
    try {
      const body = await readJsonText(c.req.raw, service.limits);
      const known = (model: string) => void (entry.model = model);
      return await reply({ c, ready: await prepare(service, body, read, { signal, known }), signal, done });
    } finally {
      if (!entry.streaming) done();
    }
  };
}

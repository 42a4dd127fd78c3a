import type { Context } from "hono";
import { random } from "../../tensor/index.js";
import { answer } from "../answer.js";
import { asking } from "../asking.js";
import { refused } from "../fields.js";
import { page } from "../fine-tuning/wire.js";
import type { Core, Env, Handler, Routes } from "../route.js";
import { begun, eventReply } from "../sse.js";
import { failedEvent, type ResponseEvent, responseEvents } from "./events.js";
import { keptItems, readItems } from "./items.js";
import { type ResponseRequest, readResponseRequest, responseBody } from "./request.js";
import { createResponseStore, keptResponse, type ResponseStore } from "./store.js";
import type { ResponseObject } from "./wire.js";

/** /v1/responses as OpenAI's API reference has it. */
export function responseRoutes(core: Core): Routes {
  const kept = createResponseStore(core.service.limits);
  const id = (c: Context) => c.req.param("id")!;
  return {
    "POST /v1/responses": {
      summary: "Answers an input, a text or items",
      body: responseBody,
      handle: responding(core, kept),
    },
    "GET /v1/responses/:id": {
      summary: "Returns an answer that is kept",
      handle: (c) => {
        const { stream } = c.req.query();
        if (stream !== undefined && stream !== "false")
          throw refused("stream", "a kept response is returned whole", "unsupported_parameter");
        return c.json(keptResponse(kept, id(c)).response);
      },
    },
    "DELETE /v1/responses/:id": {
      summary: "Forgets an answer",
      handle: (c) => {
        const { response } = keptResponse(kept, id(c));
        kept.remove(response.id);
        return c.json({ id: response.id, object: "response", deleted: true });
      },
    },
    "GET /v1/responses/:id/input_items": {
      summary: "Lists the items that an answer was asked with",
      handle: (c) =>
        c.json(page([...keptResponse(kept, id(c)).input].reverse(), c.req.query(), { limit: 20, most: 100 })),
    },
  };
}

function responding(core: Core, kept: ResponseStore): Handler {
  const { service, now } = core;
  const read = (given: Record<string, unknown>) => readResponseRequest(given, service.limits, kept);
  return asking(core, read, async ({ c, ready, signal, done }) => {
    const { number, usage } = c.get("entry");
    const newId = idsOf(service.seed, number);
    const begins = beginning(ready.asked, newId("resp"), now());
    const pieces = await begun(answer(service, ready, { number, signal, usage }));
    const events = keeping(responseEvents(begins, pieces, { usage, newId, now }), ready.asked, kept, newId);
    if (ready.asked.stream) return streamed(core, c, { begins, events, done });
    return c.json(await lastOf(events));
  });
}

/** Ids of one request's response and items. */
function idsOf(seed: number, number: number): (prefix: string) => string {
  const rng = random(seed, "response id", number);
  const part = () => (rng.int32() >>> 0).toString(16).padStart(8, "0");
  return (prefix) => `${prefix}_${part()}${part()}${part()}${part()}${number.toString(16).padStart(8, "0")}`;
}

/** A response of which nothing is there yet. */
function beginning({ body, format, given }: ResponseRequest, id: string, milliseconds: number): ResponseObject {
  return {
    id,
    object: "response",
    created_at: Math.floor(milliseconds / 1000),
    status: "in_progress",
    background: false,
    completed_at: null,
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    model: body.model,
    output: [],
    parallel_tool_calls: given.parallel_tool_calls ?? true,
    previous_response_id: body.previous_response_id ?? null,
    reasoning: { effort: body.reasoning?.effort ?? null, summary: body.reasoning?.summary ?? null },
    service_tier: "default",
    store: body.store,
    temperature: body.temperature,
    text: { format, ...(body.text?.verbosity ? { verbosity: body.text.verbosity } : {}) },
    tool_choice: given.tool_choice ?? "auto",
    tools: given.tools ?? [],
    top_logprobs: body.top_logprobs ?? 0,
    top_p: body.top_p ?? 1,
    truncation: "disabled",
    usage: null,
    metadata: body.metadata ?? {},
  };
}

/** The same events; the response of the last one is kept, unless it is not to be. */
async function* keeping(
  events: AsyncGenerator<ResponseEvent, void>,
  { body, messages }: ResponseRequest,
  kept: ResponseStore,
  newId: (prefix: string) => string,
): AsyncGenerator<ResponseEvent, void> {
  for await (const event of events) {
    const { response } = event as { response?: ResponseObject };
    if (body.store && response && response.status !== "in_progress") {
      const input = keptItems(body.input, newId);
      kept.keep({ response, input, messages: [...messages, ...readItems(response.output, () => undefined)] });
    }
    yield event;
  }
}

interface Streamed {
  readonly begins: ResponseObject;
  readonly events: AsyncGenerator<ResponseEvent, void>;
  done(): void;
}

function streamed(core: Core, c: Context<Env>, { begins, events, done }: Streamed): Response {
  let sent = 0;
  const named = (event: { readonly type: string }) => `event: ${event.type}\ndata: ${JSON.stringify(event)}`;
  const texts = async function* () {
    for await (const event of events) {
      sent++;
      yield named(event);
    }
  };
  return eventReply(core, c, {
    events: texts(),
    failure: (error) => named({ ...failedEvent(begins, error), ...{ sequence_number: sent } }),
    done,
  });
}

async function lastOf(events: AsyncGenerator<ResponseEvent, void>): Promise<ResponseObject> {
  let last: ResponseEvent | undefined;
  for await (const event of events) last = event;
  return last!.response as ResponseObject;
}

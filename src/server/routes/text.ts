import { random } from "../../tensor/index.js";
import { answer } from "../answer.js";
import { asking } from "../asking.js";
import { CHAT, data, eventsOf, TEXT, wholeReply } from "../replies.js";
import type { Core, Handler, Routes } from "../route.js";
import { chatBody, completionBody, readChatRequest, readCompletionRequest } from "../schema.js";
import { begun, eventReply } from "../sse.js";

/** Answers to messages, and texts continued. */
export function textRoutes(core: Core): Routes {
  return {
    "POST /v1/chat/completions": {
      summary: "Answers messages",
      body: chatBody,
      handle: makingText(core, readChatRequest, CHAT),
    },
    "POST /v1/completions": {
      summary: "Continues texts, or token ids",
      body: completionBody,
      handle: makingText(core, readCompletionRequest, TEXT),
    },
  };
}

/** An endpoint that makes text: how it reads a request and in which shape it replies. */
function makingText(core: Core, read: typeof readChatRequest, shape: typeof CHAT): Handler {
  const { service, now } = core;
  return asking(core, read, async ({ c, ready, signal, done }) => {
    const { number, usage } = c.get("entry");
    const unique = (random(service.seed, "id", number).int32() >>> 0).toString(36) + number.toString(36);
    const head = { id: shape.idPrefix + unique, created: Math.floor(now() / 1000), model: ready.asked.model };
    const pieces = answer(service, ready, { number, signal, usage });
    if (ready.asked.stream) {
      const events = eventsOf(shape, head, ready.asked, await begun(pieces), usage);
      return eventReply(core, c, { events, failure: (error) => data(error.body()), done });
    }
    return c.json(await wholeReply(shape, head, pieces, usage));
  });
}

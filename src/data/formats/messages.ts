import { readConversation } from "../chat-row.js";
import type { Format } from "./format.js";

/** Conversations as chat templates take them. */
export const messages: Format = {
  shape: '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
  needs: ["messages"],
  takes: ["system", "tools"],
  read: (fields, seen) => readConversation(fields, "messages", seen),
  trainOn: ["assistant", "last", "all"],
};

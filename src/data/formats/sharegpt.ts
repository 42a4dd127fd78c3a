import { readConversation } from "../chat-row.js";
import type { Format } from "./format.js";

/** Conversations as ShareGPT has them. */
export const sharegpt: Format = {
  shape: '{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}',
  needs: ["conversations"],
  takes: ["system", "tools"],
  read: (fields, seen) => readConversation(fields, "conversations", seen),
  trainOn: ["assistant", "last", "all"],
};

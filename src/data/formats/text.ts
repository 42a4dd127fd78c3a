import { answer } from "../fields.js";
import type { Format } from "./format.js";

/** Plain text. */
export const text: Format = {
  shape: '{"text": "..."}',
  needs: ["text"],
  takes: [],
  read: (fields) => ({ kind: "text", prompt: "", completion: answer(fields, "text") }),
  trainOn: ["all"],
};

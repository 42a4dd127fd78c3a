import { readPromptCompletion } from "../prompt-completion.js";
import type { Format } from "./format.js";

/** A prompt and its completion. */
export const promptCompletion: Format = {
  shape: '{"prompt": "...", "completion": "..."}',
  needs: ["prompt", "completion"],
  takes: ["system", "tools"],
  read: readPromptCompletion,
  trainOn: ["completion", "assistant", "last", "all"],
};

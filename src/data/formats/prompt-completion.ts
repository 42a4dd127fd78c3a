import { UserError } from "../../tensor/index.js";
import { chatRow } from "../chat-row.js";
import { answer, type Fields, kindOf } from "../fields.js";
import { isAssistant, type Row } from "../row.js";
import { readTurns, type SeenFields } from "../turns.js";
import type { Format } from "./format.js";

/** A prompt and its completion. */
export const promptCompletion: Format = {
  shape: '{"prompt": "...", "completion": "..."}',
  needs: ["prompt", "completion"],
  takes: ["system", "tools"],
  read: readPromptCompletion,
  trainOn: ["completion", "assistant", "last", "all"],
};

/** Two texts, or, as TRL has them, two lists of messages. */
function readPromptCompletion(fields: Fields, seen: SeenFields): Row {
  const [prompt, completion] = [fields.value("prompt"), fields.value("completion")];
  if (!Array.isArray(prompt) && !Array.isArray(completion)) {
    return { kind: "text", prompt: fields.text("prompt"), completion: answer(fields, "completion") };
  }
  if (!Array.isArray(prompt) || !Array.isArray(completion)) {
    throw new UserError(
      `prompt is ${kindOf(prompt)} and completion is ${kindOf(completion)}; expected two texts or two lists of messages`,
    );
  }
  const before = readTurns(prompt, "prompt", seen);
  const after = readTurns(completion, "completion", seen);
  if (!after.some(({ message }) => isAssistant(message))) throw new UserError("completion has no assistant turn");
  return chatRow(fields, [...before, ...after], before.length);
}

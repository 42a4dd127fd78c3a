import { UserError } from "../tensor/index.js";
import { chatRow } from "./chat-row.js";
import { answer, type Fields, kindOf } from "./fields.js";
import { type Example, isAssistant } from "./row.js";
import { readTurns, type SeenFields } from "./turns.js";

/** A prompt and its completion: two texts, or, as TRL has them, two lists of messages. */
export function readPromptCompletion(fields: Fields, seen: SeenFields): Example {
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

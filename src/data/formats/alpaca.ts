import { UserError } from "../../tensor/index.js";
import { chatRow } from "../chat-row.js";
import { answer, type Fields, isEmpty } from "../fields.js";
import type { Row } from "../row.js";
import type { Turn } from "../turns.js";
import type { Format } from "./format.js";

/** Instructions as Stanford Alpaca has them. */
export const alpaca: Format = {
  shape: '{"instruction": "...", "input": "...", "output": "..."}',
  needs: ["instruction", "output"],
  takes: ["input", "system", "history", "tools"],
  read: readAlpaca,
  trainOn: ["completion", "assistant", "last", "all"],
};

/**
 * An Alpaca row: Stanford Alpaca's prompt and the output. With `system`, `history` or `tools`, for which that prompt has no
 * place, it is a conversation as LLaMA-Factory makes it: the pairs of the history, then the instruction with its input.
 */
function readAlpaca(fields: Fields): Row {
  const [instruction, input] = [fields.text("instruction"), fields.optionalText("input")];
  const output = answer(fields, "output");
  const isChat = ["system", "history", "tools"].some((name) => !isEmpty(fields.value(name)));
  if (!isChat) return { kind: "text", prompt: alpacaPrompt(instruction, input), completion: output };
  const asked = turn("user", input === "" ? instruction : `${instruction}\n${input}`);
  const turns = [...readHistory(fields.list("history") ?? []), asked, turn("assistant", output)];
  return chatRow(fields, turns, turns.length - 1);
}

const turn = (role: string, content: string): Turn => ({ message: { role, content }, weight: undefined });

function readHistory(pairs: readonly unknown[]): Turn[] {
  return pairs.flatMap((pair, i) => {
    const texts = Array.isArray(pair) && pair.length === 2 && pair.every((side) => typeof side === "string");
    if (!texts) throw new UserError(`history[${i}] must be a list of two texts: what was asked and what was answered`);
    const [question, reply] = pair as [string, string];
    if (reply.trim() === "") throw new UserError(`history[${i}][1] is empty: there is no answer`);
    return [turn("user", question), turn("assistant", reply)];
  });
}

/** The prompts of Stanford Alpaca, with and without an input. */
function alpacaPrompt(instruction: string, input: string): string {
  return input === ""
    ? `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Response:\n`
    : `Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:\n`;
}

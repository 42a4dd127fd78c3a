import { UserError } from "../tensor/index.js";
import { joinedParts, type Message } from "../tokenizers/chat-template.js";
import {
  asObject,
  type Fields,
  has,
  isEmpty,
  type JsonObject,
  kindOf,
  literal,
  openFields,
  unwrapped,
} from "./fields.js";
import { jsonValue } from "./json-value.js";
import { shown } from "./shown.js";

/** A message of a row, and whether the loss may be taken on it. */
export interface Turn {
  readonly message: Message;
  /** OpenAI's `weight`; undefined where there is none. */
  readonly weight: 0 | 1 | undefined;
}

/** What a file's rows hold beside what is read of them. */
export interface SeenFields {
  /** Names of fields that nothing reads. */
  readonly unused: Set<string>;
  /** Some tool call has its arguments as text, as OpenAI's API has them. */
  textArguments: boolean;
}

/** Most turns of one row. */
const mostTurns = 10_000;

/** Reads a list of turns: each as ShareGPT has it (`from`, `value`), or else as a message (`role`, `content`). */
export function readTurns(list: readonly unknown[], where: string, seen: SeenFields): Turn[] {
  if (list.length > mostTurns) {
    throw new UserError(`${where} has ${list.length} turns; at most ${mostTurns} are read: cut the row into several`);
  }
  return list.map((value, i) => {
    const turn = asObject(value, `${where}[${i}]`);
    const place = { where: `${where}[${i}].`, general: `${where}[].`, seen };
    return has(turn, "from") ? readShareGpt(turn, place) : readMessage(turn, place);
  });
}

/** Where a turn is, for messages: exactly, and as a field of every turn. */
interface Place {
  readonly where: string;
  readonly general: string;
  readonly seen: SeenFields;
}

function readMessage(turn: JsonObject, place: Place): Turn {
  const { where, seen } = place;
  const fields = openFields(turn, where);
  const role = fields.text("role");
  const weight = readWeight(fields, role, where);
  if (checkCalls(turn, where)) seen.textArguments = true;
  const calls = [...callFields].some((name) => !isEmpty(turn[name]));
  const text = readContent(
    fields,
    "content",
    { role, optional: role === "assistant" && (calls || weight === 0) },
    place,
  );
  // Null says that a field is not there, and templates ask whether it is. A call's content is null or missing, as it came.
  const others = Object.entries(turn).filter(([name, value]) => value !== null && !readHere.has(name));
  const content = text ?? (Object.hasOwn(turn, "content") ? null : undefined);
  return { message: { ...Object.fromEntries(others), role, ...(content === undefined ? {} : { content }) }, weight };
}

/** Fields of a message that are not handed on as they are. */
const readHere = new Set(["role", "content", "weight", "refusal"]);

/** Fields in which an assistant calls functions: tools', and what OpenAI had before them. */
export const callFields: ReadonlySet<string> = new Set(["tool_calls", "function_call"]);

/** Throws UserError where calls are no objects. Returns whether one has its arguments as text. */
function checkCalls(turn: JsonObject, where: string): boolean {
  if (has(turn, "function_call")) asObject(turn.function_call, `${where}function_call`);
  if (!has(turn, "tool_calls")) return false;
  const calls = turn.tool_calls;
  if (!Array.isArray(calls)) throw new UserError(`${where}tool_calls must be a list, not ${kindOf(calls)}`);
  return calls
    .map((call, i) => asObject(call, `${where}tool_calls[${i}]`))
    .some((call) => typeof asObject(call.function ?? call, `${where}tool_calls: function`).arguments === "string");
}

/** Other systems' ways to leave a turn out of the loss. */
const otherMasks = ["loss", "train", "training", "train_detail"];

function readWeight(fields: Fields, role: string, where: string): 0 | 1 | undefined {
  for (const name of otherMasks) {
    if (fields.value(name) === undefined) continue;
    throw new UserError(`${where}${name} is not read; to leave an assistant turn out of the loss, give it "weight": 0`);
  }
  const weight = unwrapped(fields.value("weight"));
  if (weight === undefined) return undefined;
  if (weight !== 0 && weight !== 1) {
    throw new UserError(`${where}weight is ${literal(weight)}; expected 0 (no loss) or 1`);
  }
  if (weight === 1 && role !== "assistant") {
    throw new UserError(`${where}weight is 1 on a turn of ${shown(role)}; the loss is taken on assistant turns`);
  }
  return weight;
}

/** Text of a turn: a string or a list of parts; undefined where it may be missing and is. */
function readContent(
  fields: Fields,
  name: string,
  { role, optional }: { role: string; optional: boolean },
  place: Place,
): string | undefined {
  const { where } = place;
  const refusal = fields.optionalText("refusal");
  const value = fields.value(name) ?? (refusal === "" ? undefined : refusal);
  if (value === undefined && optional) return undefined;
  if (value === undefined) throw new UserError(`${where}${name} is missing or null`);
  if (refusal !== "" && value !== refusal)
    throw new UserError(`${where}refusal stands beside ${name}; give one of them`);
  const joined = Array.isArray(value) ? joinedParts(value.map((part, i) => readPart(part, name, i, place))) : value;
  if (typeof joined !== "string") throw new UserError(`${where}${name} must be a string, not ${kindOf(joined)}`);
  if (role === "assistant" && !optional && joined.trim() === "") {
    throw new UserError(`${where}${name}: empty assistant turn`);
  }
  return joined;
}

/** The field that holds the text of a content part, by its type. */
const partTexts = new Map([
  ["text", "text"],
  ["input_text", "text"],
  ["output_text", "text"],
  ["refusal", "refusal"],
]);

function readPart(value: unknown, name: string, index: number, { where, general, seen }: Place): string {
  const part = openFields(asObject(value, `${where}${name}[${index}]`), `${where}${name}[${index}].`);
  const type = part.value("type");
  const key = typeof type === "string" ? partTexts.get(type) : undefined;
  if (!key) {
    throw new UserError(`${where}${name} has a part of type ${literal(type)}; only text can be trained on`);
  }
  const text = part.text(key);
  for (const [unused] of part.unused()) seen.unused.add(`${general}${name}[].${unused}`);
  return text;
}

/** ShareGPT's names of the roles; "call" is an assistant turn whose text is a call of functions. */
const shareGptRoles = new Map([
  ["human", "user"],
  ["user", "user"],
  ["gpt", "assistant"],
  ["assistant", "assistant"],
  ["model", "assistant"],
  ["chatgpt", "assistant"],
  ["bot", "assistant"],
  ["system", "system"],
  ["developer", "developer"],
  ["tool", "tool"],
  ["observation", "tool"],
  ["function_response", "tool"],
  ["function_call", "call"],
  ["tool_call", "call"],
]);

function readShareGpt(turn: JsonObject, place: Place): Turn {
  const { where, general, seen } = place;
  const fields = openFields(turn, where);
  const from = fields.value("from");
  const role = typeof from === "string" ? shareGptRoles.get(from) : undefined;
  if (role === undefined) {
    const names = [...shareGptRoles.keys()].join(", ");
    throw new UserError(`${where}from is ${literal(from)}; expected one of ${names}`);
  }
  const speaker = role === "call" ? "assistant" : role;
  const weight = readWeight(fields, speaker, where);
  const text = readContent(fields, "value", { role: speaker, optional: weight === 0 }, place) ?? "";
  for (const [name] of fields.unused()) seen.unused.add(`${general}${name}`);
  if (role !== "call") return { message: { role, content: text }, weight };
  return { message: { role: speaker, content: null, tool_calls: readCalls(text, where) }, weight };
}

/** A ShareGPT call, JSON text of `{"name", "arguments"}` or a list of them, as transformers' templates take calls. */
function readCalls(text: string, where: string): unknown[] {
  let value: unknown;
  try {
    value = jsonValue(text);
  } catch (error) {
    throw new UserError(`${where}value must be JSON text of a call, and is ${(error as Error).message}`);
  }
  return [value].flat().map((item, i) => {
    const call = openFields(asObject(item, `${where}value, call ${i}`), `${where}value, call ${i}: `);
    const name = call.text("name");
    const given = call.value("arguments") ?? call.value("parameters") ?? {};
    const [unused] = call.unused();
    if (unused) throw new UserError(`${where}value: a call has name and arguments, not ${shown(unused[0])}`);
    return { type: "function", function: { name, arguments: given } };
  });
}

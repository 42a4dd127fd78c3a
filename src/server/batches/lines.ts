import type { ServerLimits } from "../limits.js";
import type { BatchFault } from "./wire.js";

/** Requests of one batch at most, as OpenAI has it. */
const MOST_REQUESTS = 50_000;
/** Lines that are named at most. */
const MOST_NAMED = 20;
const MOST_ID = 512;

/** One request of a batch. */
export interface BatchRequest {
  readonly customId: string;
  /** Its body's JSON, as it was written. */
  readonly body: string;
}

/** A line of a file, from 1; without text where it is longer than allowed. */
export interface Line {
  readonly line: number;
  readonly text: string | undefined;
}

/** The lines of a file that are not empty. A longer one than `mostBytes` is passed over, and told of without its text. */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>, mostBytes: number): AsyncGenerator<Line> {
  const utf8 = new TextDecoder();
  let held: Uint8Array[] = [];
  let [bytes, line] = [0, 1];
  const ended = (): Line | undefined => {
    const text = bytes > mostBytes ? undefined : held.map((part) => utf8.decode(part, { stream: true })).join("");
    const whole = text === undefined ? undefined : text + utf8.decode();
    [held, bytes] = [[], 0];
    return whole?.trim() === "" ? undefined : { line, text: whole };
  };
  const hold = (part: Uint8Array): void => {
    bytes += part.length;
    if (bytes <= mostBytes) held.push(part);
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(LF); at >= 0; at = chunk.indexOf(LF, from)) {
      hold(chunk.subarray(from, at));
      const found = ended();
      if (found) yield found;
      [from, line] = [at + 1, line + 1];
    }
    hold(chunk.subarray(from));
  }
  const last = ended();
  if (last) yield last;
}

const LF = 0x0a;

/** Checks a batch's input. Returns how many requests it holds, or what is wrong with it. */
export async function checkInput(
  chunks: AsyncIterable<Uint8Array>,
  endpoint: string,
  { bodyBytes }: Pick<ServerLimits, "bodyBytes">,
): Promise<number | BatchFault[]> {
  const faults: BatchFault[] = [];
  const ids = new Set<string>();
  let total = 0;
  for await (const { line, text } of linesOf(chunks, bodyBytes)) {
    total++;
    const read = text === undefined ? tooLong(bodyBytes) : readRequest(text, endpoint);
    const found = "fault" in read ? read : ids.has(read.customId) ? taken(read.customId) : undefined;
    if (found) faults.push({ code: "invalid_request", message: found.fault, line, param: found.param });
    else if ("customId" in read) ids.add(read.customId);
    if (total > MOST_REQUESTS) faults.push(whole(`it holds more than ${MOST_REQUESTS} requests: split it`));
    if (faults.length >= MOST_NAMED || total > MOST_REQUESTS) return faults;
  }
  if (total === 0) faults.push(whole("it holds no requests; expected JSONL, one request a line"));
  return faults.length > 0 ? faults : total;
}

interface Fault {
  readonly fault: string;
  readonly param: string | null;
}

const whole = (message: string): BatchFault => ({ code: "invalid_file", message, line: null, param: "input_file_id" });
const tooLong = (most: number): Fault => ({ fault: `the line is longer than ${most} bytes`, param: null });
const taken = (id: string): Fault => ({
  fault: `custom_id: '${id.slice(0, 100)}' is that of an earlier line`,
  param: "custom_id",
});

/** The request that a line holds, or what is wrong with it. */
export function readRequest(text: string, endpoint: string): BatchRequest | Fault {
  let value: Readonly<Record<string, unknown>> | null;
  try {
    value = JSON.parse(text);
  } catch {
    return { fault: "the line is not JSON", param: null };
  }
  if (!isObject(value)) return { fault: "the line is not a JSON object", param: null };
  const { custom_id: customId, method, url, body } = value;
  if (typeof customId !== "string" || customId === "" || customId.length > MOST_ID)
    return { fault: `custom_id: expected a text of 1 to ${MOST_ID} characters`, param: "custom_id" };
  if (method !== "POST") return { fault: "method: expected 'POST'", param: "method" };
  if (url !== endpoint) return { fault: `url: expected '${endpoint}', the batch's endpoint`, param: "url" };
  if (!isObject(body)) return { fault: "body: expected an object", param: "body" };
  if (body.stream) return { fault: "body.stream: answers of a batch are not streamed", param: "body" };
  return { customId, body: fieldText(text, "body") };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The text of an object's field as it stands in valid JSON: numbers keep the digits that they were written with. */
function fieldText(json: string, name: string): string {
  const marks = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],]/g;
  const colon = /\s*:/y;
  let [depth, start, found] = [0, -1, ""];
  for (const { 0: mark, index } of json.matchAll(marks)) {
    if (mark === "{" || mark === "[") depth++;
    else if (mark === "}" || mark === "]") depth--;
    else if (mark !== "," && depth === 1) {
      colon.lastIndex = index + mark.length;
      if (colon.test(json) && JSON.parse(mark) === name) start = colon.lastIndex;
    }
    if (start < 0 || !(depth === 0 || (depth === 1 && mark === ","))) continue;
    [found, start] = [json.slice(start, index).trim(), -1];
  }
  return found;
}

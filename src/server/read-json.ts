import { parseJson as exactJson } from "../tokenizers/json.js";
import { ApiError } from "./errors.js";
import type { ServerLimits } from "./limits.js";

/** A request's JSON object. Throws ApiError for what is too large, too deep, not JSON or not sent as JSON. */
export async function readJson(
  request: Request,
  limits: Pick<ServerLimits, "bodyBytes" | "jsonDepth" | "jsonFields">,
): Promise<Record<string, unknown>> {
  return parseJson(await readJsonText(request, limits), limits);
}

/** A request's body, which says that it is JSON. Throws ApiError for another type, and more than `bodyBytes`. */
export async function readJsonText(request: Request, { bodyBytes }: Pick<ServerLimits, "bodyBytes">): Promise<string> {
  const type = request.headers.get("content-type") ?? "";
  if (/^application\/json\s*(;|$)/i.test(type)) return readText(request, bodyBytes);
  throw new ApiError(415, `content-type: expected application/json, got '${type.slice(0, 100)}'`);
}

/** The object that a body holds. Throws ApiError for what is too deep, has too many fields, or is no JSON object. */
export function parseJson(
  text: string,
  { jsonDepth, jsonFields }: Pick<ServerLimits, "jsonDepth" | "jsonFields">,
): Record<string, unknown> {
  const { depth, fields } = shapeOf(text, jsonDepth);
  if (depth > jsonDepth) throw new ApiError(400, `the body nests deeper than ${jsonDepth} levels`);
  if (fields > jsonFields) throw new ApiError(400, `the body has ${fields} fields; at most ${jsonFields} are read`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ApiError(400, "the body is not JSON");
  }
  if (value !== null && typeof value === "object" && !Array.isArray(value))
    return withExactTools(value as Record<string, unknown>, text);
  throw new ApiError(400, "the body is not a JSON object");
}

/** Tools go into the prompt as text, so their numbers stay as they were written. */
function withExactTools(body: Record<string, unknown>, text: string): Record<string, unknown> {
  if (!body.tools) return body;
  return { ...body, tools: (exactJson(text) as Record<string, unknown>).tools };
}

async function readText(request: Request, most: number): Promise<string> {
  const tooLarge = () =>
    new ApiError(413, `the body is larger than ${most} bytes`, { headers: { connection: "close" } });
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge();
  const reader = request.body?.getReader();
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  let [text, bytes] = ["", 0];
  try {
    for (let next = await reader?.read(); next && !next.done; next = await reader!.read()) {
      bytes += next.value.byteLength;
      if (bytes > most) {
        reader!.cancel().catch(() => undefined);
        throw tooLarge();
      }
      text += utf8.decode(next.value, { stream: true });
    }
    return text + utf8.decode();
  } catch (error) {
    if (error instanceof TypeError) throw new ApiError(400, "the body is not UTF-8");
    throw error;
  }
}

/** How deep brackets stand inside brackets, and how many fields there are, outside strings; it stops counting past `most` levels. */
function shapeOf(text: string, most: number): { readonly depth: number; readonly fields: number } {
  let [level, depth, fields] = [0, 0, 0];
  for (let i = 0; i < text.length && depth <= most; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) i = endOfString(text, i);
    else if (c === COLON) fields++;
    else if (c === OPEN_BRACE || c === OPEN_BRACKET) depth = Math.max(depth, ++level);
    else if (c === CLOSE_BRACE || c === CLOSE_BRACKET) level--;
  }
  return { depth, fields };
}

const [QUOTE, COLON, BACKSLASH] = [0x22, 0x3a, 0x5c];
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d];

/** Where the string that begins at `start` ends. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === BACKSLASH) i++;
    else if (c === QUOTE) return i;
  }
  return text.length;
}

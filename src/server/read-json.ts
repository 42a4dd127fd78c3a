import { ApiError } from "./errors.js";
import type { ServerLimits } from "./limits.js";

/** A request's JSON object. Throws ApiError for what is too large, too deep, not JSON or not sent as JSON. */
export async function readJson(
  request: Request,
  limits: Pick<ServerLimits, "bodyBytes" | "jsonDepth">,
): Promise<Record<string, unknown>> {
  return parseJson(await readJsonText(request, limits), limits);
}

/** A request's body, which says that it is JSON. Throws ApiError for another type, and more than `bodyBytes`. */
export async function readJsonText(request: Request, { bodyBytes }: Pick<ServerLimits, "bodyBytes">): Promise<string> {
  const type = request.headers.get("content-type") ?? "";
  if (/^application\/json\s*(;|$)/i.test(type)) return readText(request, bodyBytes);
  throw new ApiError(415, `content-type: expected application/json, got '${type.slice(0, 100)}'`);
}

/** The object that a body holds. Throws ApiError for what is too deep, or no JSON object. */
export function parseJson(text: string, { jsonDepth }: Pick<ServerLimits, "jsonDepth">): Record<string, unknown> {
  if (depthOf(text, jsonDepth) > jsonDepth) throw new ApiError(400, `the body nests deeper than ${jsonDepth} levels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ApiError(400, "the body is not JSON");
  }
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new ApiError(400, "the body is not a JSON object");
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

/** How deep brackets stand inside brackets, outside strings; it stops counting past `most`. */
function depthOf(text: string, most: number): number {
  let [depth, deepest] = [0, 0];
  let quoted = false;
  for (let i = 0; i < text.length && deepest <= most; i++) {
    const c = text[i];
    if (quoted) {
      if (c === "\\") i++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === "{" || c === "[") deepest = Math.max(deepest, ++depth);
    else if (c === "}" || c === "]") depth--;
  }
  return deepest;
}

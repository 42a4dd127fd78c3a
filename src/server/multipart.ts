import { ApiError } from "./errors.js";

/** One field of a form; its content has to be read before the next one comes. */
export interface Part {
  readonly name: string;
  /** What the client calls the file; undefined for a plain value. */
  readonly filename: string | undefined;
  readonly content: AsyncGenerator<Uint8Array>;
}

const MOST_HEADER_BYTES = 8192;

/**
 * The fields of a multipart/form-data body (RFC 7578), as they come: memory holds about a chunk, whatever is sent. Throws
 * ApiError for another type, more than `most` bytes, and a body that is cut off or no form.
 */
export async function* readMultipart(request: Request, most: number): AsyncGenerator<Part> {
  const type = request.headers.get("content-type") ?? "";
  const [, quoted, bare] = /^multipart\/form-data\s*;.*?boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(type) ?? [];
  const boundary = quoted ?? bare;
  if (boundary === undefined) {
    throw new ApiError(415, `content-type: expected multipart/form-data, got '${type.slice(0, 100)}'`);
  }
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge(most);
  const reader = byteReader(request, most);
  const utf8 = new TextEncoder();
  const delimiter = utf8.encode(`\r\n--${boundary}`);
  await drained(reader.until(delimiter));
  for (;;) {
    const after = await reader.take(2);
    if (after === "--") return;
    if (after !== "\r\n") throw notAForm();
    const header = await textOf(reader.until(utf8.encode("\r\n\r\n")), MOST_HEADER_BYTES);
    const [, name] = /^content-disposition:\s*form-data;.*?\bname="([^"]*)"/im.exec(header) ?? [];
    if (name === undefined) throw notAForm();
    const [, filename] = /^content-disposition:.*?\bfilename="([^"]*)"/im.exec(header) ?? [];
    const content = reader.until(delimiter);
    yield { name, filename: filename === undefined ? undefined : unescaped(filename), content };
    await drained(content);
  }
}

/** A plain value. Throws ApiError when it is longer than `most` bytes. */
export async function textOf(content: AsyncGenerator<Uint8Array>, most: number): Promise<string> {
  const utf8 = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.length;
    if (bytes > most) throw new ApiError(400, `a field of the form is longer than ${most} bytes`);
    text += utf8.decode(chunk, { stream: true });
  }
  return text + utf8.decode();
}

/** As browsers escape what would end the name. */
const unescaped = (name: string): string =>
  name.replace(/%(22|0D|0A)/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
const notAForm = () => new ApiError(400, "the body is no multipart form, or was cut off");
const tooLarge = (most: number) =>
  new ApiError(413, `the body is larger than ${most} bytes`, { headers: { connection: "close" } });

async function drained(content: AsyncGenerator<Uint8Array>): Promise<void> {
  for await (const _ of content);
}

/** Reads a body up to marks; it begins as if a line had ended before it, as a form's first delimiter wants. */
function byteReader(request: Request, most: number) {
  const source = request.body?.getReader();
  let held: Uint8Array = Uint8Array.of(13, 10);
  let bytes = 0;
  const more = async (): Promise<void> => {
    const next = await source?.read();
    if (!next || next.done) throw notAForm();
    bytes += next.value.length;
    if (bytes > most) {
      source!.cancel().catch(() => undefined);
      throw tooLarge(most);
    }
    const joined = new Uint8Array(held.length + next.value.length);
    joined.set(held);
    joined.set(next.value, held.length);
    held = joined;
  };
  return {
    /** What stands before `mark`, which is passed over. */
    async *until(mark: Uint8Array): AsyncGenerator<Uint8Array> {
      for (;;) {
        const at = find(held, mark);
        const certain = at >= 0 ? at : Math.max(0, held.length - mark.length + 1);
        const out = held.subarray(0, certain);
        held = held.subarray(at >= 0 ? at + mark.length : certain);
        if (out.length > 0) yield out;
        if (at >= 0) return;
        await more();
      }
    },
    async take(count: number): Promise<string> {
      while (held.length < count) await more();
      const text = String.fromCharCode(...held.subarray(0, count));
      held = held.subarray(count);
      return text;
    },
  };
}

function find(bytes: Uint8Array, mark: Uint8Array): number {
  for (let at = bytes.indexOf(mark[0]!); at >= 0; at = bytes.indexOf(mark[0]!, at + 1)) {
    if (at + mark.length > bytes.length) return -1;
    let i = 1;
    while (i < mark.length && bytes[at + i] === mark[i]) i++;
    if (i === mark.length) return at;
  }
  return -1;
}

import fc from "fast-check";
import { expect, it } from "vitest";
import type { ApiError } from "./errors.js";
import { readMultipart, textOf } from "./multipart.js";

/** A request whose body comes in pieces of these sizes. */
function inPieces(bytes: Uint8Array, type: string, sizes: readonly number[]): Request {
  let at = 0;
  let i = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      const size = sizes[i++ % sizes.length]!;
      controller.enqueue(bytes.subarray(at, at + size));
      at += size;
    },
  });
  return new Request("http://localhost/", {
    method: "POST",
    body,
    headers: { "content-type": type },
    duplex: "half",
  } as never);
}

async function fieldsOf(request: Request, most = 1e6) {
  const fields: { name: string; filename: string | undefined; content: number[] }[] = [];
  for await (const { name, filename, content } of readMultipart(request, most)) {
    const bytes: number[] = [];
    for await (const chunk of content) bytes.push(...chunk);
    fields.push({ name, filename, content: bytes });
  }
  return fields;
}

const file = fc.record({
  name: fc.constantFrom("file", "purpose", "é"),
  filename: fc.option(fc.constantFrom('a "b".jsonl', "ü.txt", "x"), { nil: undefined }),
  content: fc.uint8Array({ maxLength: 300 }),
});

it("reads what fetch writes, wherever the body is cut into chunks", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(file, { maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }),
      async (parts, sizes) => {
        const form = new FormData();
        for (const { name, filename, content } of parts)
          form.append(name, new Blob([content as never]), filename ?? "blob");
        const whole = new Request("http://localhost/", { method: "POST", body: form });
        const bytes = new Uint8Array(await whole.arrayBuffer());
        const fields = await fieldsOf(inPieces(bytes, whole.headers.get("content-type")!, sizes));
        expect(fields).toEqual(
          parts.map(({ name, filename, content }) => ({ name, filename: filename ?? "blob", content: [...content] })),
        );
      },
    ),
  );
});

it("content that looks like a delimiter stays content; what is not read of a field is passed over", async () => {
  const body =
    'preamble\r\n--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n--b\r\n-\r\n--c\r\n--b\r\ncontent-disposition: form-data; name="z"\r\n\r\n1\r\n--b--\r\nepilogue';
  const request = () => inPieces(new TextEncoder().encode(body), "multipart/form-data; boundary=b", [7]);
  const seen: string[] = [];
  for await (const part of readMultipart(request(), 1e6)) seen.push(part.name);
  expect(seen).toEqual(["a", "z"]);
  for await (const part of readMultipart(request(), 1e6)) {
    expect(await textOf(part.content, 100)).toBe(part.name === "a" ? "--b\r\n-\r\n--c" : "1");
  }
});

it("what is cut off anywhere, no form, or too large: 400, 415, 413", async () => {
  const form = new FormData();
  form.append("file", new Blob(["x".repeat(50)]), "x");
  const whole = new Request("http://localhost/", { method: "POST", body: form });
  const type = whole.headers.get("content-type")!;
  const bytes = new Uint8Array(await whole.arrayBuffer());
  const status = (request: Request, most?: number) =>
    fieldsOf(request, most).then(
      () => 200,
      (error: unknown) => (error as ApiError).status,
    );
  for (let end = 0; end < bytes.length - 4; end++) {
    expect(await status(inPieces(bytes.subarray(0, end), type, [16])), String(end)).toBe(400);
  }
  expect(await status(inPieces(bytes, type, [16]))).toBe(200);
  expect(await status(inPieces(bytes, type, [16]), 60)).toBe(413);
  expect(await status(inPieces(bytes, "multipart/form-data", [16]))).toBe(415);
  expect(await status(inPieces(bytes, "text/plain", [16]))).toBe(415);
  const huge = new TextEncoder().encode(`--b\r\nx: ${"y".repeat(20_000)}`);
  expect(await status(inPieces(huge, "multipart/form-data; boundary=b", [4096]))).toBe(400);
});

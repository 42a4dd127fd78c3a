import { UserError } from "../../tensor/index.js";
import type { Chunks } from "./source.js";

/** The bytes inside gzip, as they come. Throws UserError where they are not gzip, or end too early. */
export async function* gunzipped(chunks: Chunks, name: string): AsyncGenerator<Uint8Array> {
  const { readable, writable } = new DecompressionStream("gzip");
  const reader = readable.getReader();
  let failure: { readonly error: unknown } | undefined;
  // Reading waits for writing and writing for reading, so both go on at once.
  const feeding = feed(chunks, writable.getWriter()).catch((error: unknown) => {
    failure = { error };
  });
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } catch (error) {
    await feeding;
    if (failure) throw failure.error;
    throw new UserError(`${name}: is not whole gzip data (${(error as Error).message}); copy it or pack it again`, {
      code: "invalid_rows",
    });
  } finally {
    await reader.cancel().catch(() => {});
    await feeding;
  }
}

/** Writes all chunks. Throws what the source throws; what is wrong with the data the reader hears. */
async function feed(chunks: Chunks, writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>): Promise<void> {
  writer.closed.catch(() => {});
  try {
    for await (const chunk of chunks) {
      const taken = await writer.write(chunk.slice()).then(
        () => true,
        () => false,
      );
      if (!taken) return;
    }
  } catch (error) {
    await writer.abort(error).catch(() => {});
    throw error;
  }
  await writer.close().catch(() => {});
}

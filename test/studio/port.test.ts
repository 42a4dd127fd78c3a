import { expect, it } from "vitest";
import { answerPort, type PortStudio, type StudioPort } from "../../src/studio/port.js";
import { UserError } from "../../src/tensor/index.js";
import { portBackend } from "../../studio/src/port-backend.js";

/** Two ends; what is said at one is heard at the other, as a copy, later. */
function ends(): [StudioPort, StudioPort] {
  const { port1, port2 } = new MessageChannel();
  return [port1, port2].map((port) => ({
    post: (message: unknown) => port.postMessage(message),
    onMessage: (listener: (message: unknown) => void) => {
      port.onmessage = ({ data }) => listener(data);
      (port as unknown as { unref?(): void }).unref?.();
    },
  })) as [StudioPort, StudioPort];
}

it("a page asks a worker as it asks a server: replies, refusals in words, events, and an end that stops the work", async () => {
  const errors: unknown[] = [];
  let stopped = "";
  const studio = {
    async call(name: string, request: object) {
      if (name === "runs") throw new UserError("runs: there are none");
      if (name === "models") throw new TypeError("a fault of ours");
      return { name, request, nothing: undefined };
    },
    async *stream(name: string, _: object, signal: AbortSignal) {
      signal.addEventListener("abort", () => void (stopped = name));
      for (let i = 0; ; i++) {
        if (name === "suite" && i === 2) throw new UserError("suite: too long");
        yield { type: "text", text: String(i) };
        if (i === 3) await new Promise((resolve) => signal.addEventListener("abort", resolve));
      }
    },
    upload: async (name: string, content: AsyncIterable<Uint8Array>) => {
      let bytes = 0;
      for await (const part of content) bytes += part.length;
      return { path: `${name}: ${bytes}` };
    },
    offer: async (files: readonly { path: string }[]) => ({ base: files.map(({ path }) => path).join() }),
  } as unknown as PortStudio;
  const [page, worker] = ends();
  let open = (_: PortStudio): void => undefined;
  answerPort(worker, new Promise<PortStudio>((resolve) => void (open = resolve)), (error) => errors.push(error));
  const { backend, fail } = portBackend(page);

  const early = backend.call("about", {});
  open(studio);
  expect(await early).toEqual({ name: "about", request: {} });
  await expect(backend.call("runs", {})).rejects.toThrow("runs: there are none");
  expect(errors).toEqual([]);
  await expect(backend.call("models", {})).rejects.toThrow("not by what you did");
  expect(errors).toEqual([new TypeError("a fault of ours")]);
  expect(await backend.upload(new File(["four"], "rows.csv"))).toEqual({ path: "rows.csv: 4" });
  expect(await backend.offer!([{ path: "a/b", file: new Blob(["x"]) }])).toEqual({ base: "a/b" });

  const texts: string[] = [];
  const suite = backend.stream("suite", { base: "b", suite: "s" });
  await expect(collect(suite, texts)).rejects.toThrow("suite: too long");
  expect(texts).toEqual(["0", "1"]);
  const control = new AbortController();
  const generate = backend.stream("generate", { base: "b", question: "q" }, control.signal);
  setTimeout(() => control.abort(), 20);
  await expect(collect(generate, texts)).rejects.toMatchObject({ name: "AbortError" });
  expect(texts).toEqual(["0", "1", "0", "1", "2", "3"]);
  await expect.poll(() => stopped).toBe("generate");
  for await (const event of backend.stream("download", { name: "a/b" })) if (event.type !== "end") break;
  await expect.poll(() => stopped).toBe("download");

  const waiting = backend.files!("runs/a"); // the studio above has none: its fault is told, or the worker's end
  fail("it ended");
  await expect(waiting).rejects.toThrow("it ended");
  await expect(backend.call("about", {})).rejects.toThrow("it ended");
});

async function collect(events: AsyncIterable<{ type: string; text?: string }>, into: string[]): Promise<void> {
  for await (const event of events) into.push(event.text ?? event.type);
}

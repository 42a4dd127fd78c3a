import type { CallName, EventOf, ReplyOf, RequestOf, StreamName, StudioBackend } from "../../src/studio/backend.js";

const API = "/v1/lowrank";
const KEY = "lowrank-studio-key";

/** The server that the page came from. Undefined when it does not know this browser: the address with a token is needed. */
export async function openHttpBackend(): Promise<StudioBackend | undefined> {
  const token = /^#token=(\w+)$/.exec(location.hash)?.[1];
  if (token !== undefined) {
    history.replaceState(null, "", "#/model");
    const reply = await fetch(`${API}/session`, asked({ token }));
    if (reply.ok) localStorage.setItem(KEY, ((await reply.json()) as { key: string }).key);
  }
  const backend = httpBackend(localStorage.getItem(KEY) ?? "");
  return (await backend.call("servers", {}).catch((error) => (error instanceof Locked ? undefined : {}))) && backend;
}

/** The server does not take the key: it was started anew. */
class Locked extends Error {}

function httpBackend(key: string): StudioBackend {
  const post = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = { ...init.headers, authorization: `Bearer ${key}` };
    const reply = await fetch(`${API}/${path}`, { ...init, headers }).catch((error: unknown) => {
      if ((error as Error).name === "AbortError") throw error;
      throw new Error("lowrank studio does not answer. Is it still running in its terminal?");
    });
    if (reply.ok) return reply;
    const message = ((await reply.json()) as { error: { message: string } }).error.message;
    throw reply.status === 401 ? new Locked(message) : new Error(message);
  };
  return {
    async call<N extends CallName>(name: N, request: RequestOf<N>, signal?: AbortSignal) {
      return (await (await post(name, { ...asked(request), signal: signal ?? null })).json()) as ReplyOf<N>;
    },
    async *stream<N extends StreamName>(name: N, request: RequestOf<N>, signal?: AbortSignal) {
      const reply = await post(name, { ...asked(request), signal: signal ?? null });
      for await (const event of events(reply.body!)) {
        if (event.type === "error") throw new Error((event.error as { message: string }).message);
        yield event as EventOf<N>;
      }
    },
    async upload(file) {
      const reply = await post(`upload?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
      return (await reply.json()) as { path: string };
    },
  };
}

const asked = (request: unknown): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(request),
});

/** The events of a stream of server-sent events. */
async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<Record<string, unknown>, void> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  try {
    let rest = "";
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      const parts = (rest + next.value).split("\n\n");
      rest = parts.pop()!;
      for (const part of parts) yield JSON.parse(part.slice("data: ".length));
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

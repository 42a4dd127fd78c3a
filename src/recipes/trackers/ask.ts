import { UserError } from "../../tensor/index.js";

/** A service that is asked, with the headers that say who asks. */
export interface Service {
  readonly name: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

const LONGEST_MS = 15_000;

/** Sends JSON and returns the reply's; undefined: 404. Throws UserError when nobody answers, or the answer is a refusal. */
export async function ask<T>({ name, url, headers }: Service, path: string, body?: object): Promise<T | undefined> {
  const address = url.replace(/\/+$/, "") + path;
  const init = body ? { method: "POST", body: JSON.stringify(body) } : {};
  const fail = (what: string, cause?: unknown) =>
    new UserError(`${name} (${new URL(address).origin}): ${what}`, { cause, code: "download_failed" });
  let reply: Response;
  try {
    const all = { "content-type": "application/json", ...headers };
    reply = await fetch(address, { ...init, headers: all, redirect: "error", signal: AbortSignal.timeout(LONGEST_MS) });
  } catch (error) {
    throw fail("it cannot be reached", error);
  }
  const text = await reply.text().catch(() => "");
  if (reply.status === 404) return undefined;
  if (!reply.ok) throw fail(`it answered ${reply.status} ${text.slice(0, 200)}`);
  try {
    return JSON.parse(text || "{}") as T;
  } catch (error) {
    throw fail("its answer is not JSON", error);
  }
}

/** `Basic` credentials. */
export function basic(user: string, password: string): string {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

/** An address that a variable names. Throws UserError for what is none. */
export function addressIn(variable: string, value: string): string {
  if (URL.canParse(value) && /^https?:$/.test(new URL(value).protocol)) return value;
  throw new UserError(`${variable}: expected an address such as http://127.0.0.1:5000, got '${value.slice(0, 100)}'`);
}

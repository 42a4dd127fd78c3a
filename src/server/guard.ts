import { ApiError } from "./errors.js";

export interface GuardOptions {
  /** Clients must send this as `Authorization: Bearer KEY`. Default: no key is asked for. */
  readonly apiKey?: string;
  /**
   * Names that clients may call the server by, without port. Default: localhost, 127.0.0.1 and [::1]. It keeps a web page
   * whose name was pointed at this machine (DNS rebinding) from talking to it.
   */
  readonly hosts?: readonly string[];
  /** Origins of web pages that may call, e.g. `https://chat.example.org`, beside pages of the server's own address. Default: none. */
  readonly origins?: readonly string[];
}

export const LOOPBACK_HOSTS: readonly string[] = ["localhost", "127.0.0.1", "[::1]"];

/** Checks Host and Origin of every request. Returns the headers that let an allowed page read the answer. */
export function checkCaller(
  request: Request,
  { hosts = LOOPBACK_HOSTS, origins = [] }: GuardOptions,
): Record<string, string> {
  const host = request.headers.get("host") ?? new URL(request.url).host;
  const name = host.toLowerCase().replace(/:\d*$/, "");
  if (!hosts.some((allowed) => allowed.toLowerCase() === name)) {
    throw new ApiError(403, `Host: this server does not go by '${name.slice(0, 100)}'`, { code: "foreign_host" });
  }
  const origin = request.headers.get("origin");
  if (origin === null || origin === `http://${host}`) return {};
  if (!origins.includes(origin)) {
    throw new ApiError(403, `Origin: pages of '${origin.slice(0, 100)}' may not call this server`, {
      code: "foreign_origin",
    });
  }
  return { "access-control-allow-origin": origin, vary: "origin" };
}

/** Checks the key. Throws ApiError 401. */
export function checkKey(request: Request, { apiKey }: GuardOptions): void {
  if (apiKey === undefined) return;
  const [, given] = /^Bearer +(.+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
  if (given !== undefined && equalSecrets(given, apiKey)) return;
  throw new ApiError(401, "expected the server's key as 'Authorization: Bearer KEY'", {
    code: "invalid_api_key",
    headers: { "www-authenticate": "Bearer" },
  });
}

/** Compares in a time that does not tell how much of the key was right. */
function equalSecrets(a: string, b: string): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < b.length; i++) difference |= a.charCodeAt(i % Math.max(1, a.length)) ^ b.charCodeAt(i);
  return difference === 0;
}

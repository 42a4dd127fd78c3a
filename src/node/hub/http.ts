import { UserError } from "../../tensor/index.js";
import { proxiedFetch, viaProxy } from "./proxy.js";
import { hubEndpoint, hubToken, type Token } from "./settings.js";

/** Which hub is asked, and as whom. */
export interface HubAccess {
  /** Default: HF_ENDPOINT, else https://huggingface.co. */
  readonly endpoint?: string;
  /**
   * Default: HF_TOKEN, else the file that `hf auth login` leaves. "" sends none. Sent to the endpoint alone, never to where
   * it redirects.
   */
  readonly token?: string;
  /** Aborting stops the download; what came is kept, and the next one goes on from there. */
  readonly signal?: AbortSignal;
}

/** What a request is about, for messages. */
export interface Subject {
  readonly repository: string;
  readonly revision: string;
}

/** Asks the hub. Throws UserError that says what to do when it cannot be reached or refuses. */
export async function request(
  path: string,
  subject: Subject,
  access: HubAccess,
  headers: Record<string, string> = {},
): Promise<Response> {
  const endpoint = hubEndpoint(access.endpoint);
  const url = new URL(path, `${endpoint}/`).href;
  const token = hubToken(access.token);
  // fetch drops the authorization header itself when a redirect leads to another origin.
  const authorization: Record<string, string> = token ? { authorization: `Bearer ${token.value}` } : {};
  const ask = await proxiedFetch();
  let response: Response;
  try {
    response = await ask(url, { headers: { ...headers, ...authorization }, signal: access.signal });
  } catch (error) {
    if (access.signal?.aborted) throw error;
    throw new UserError(`${new URL(url).origin}: cannot be reached: ${reasonOf(error)}${viaProxy(url)}`, {
      cause: error,
      code: "download_failed",
    });
  }
  if (response.ok) return response;
  await response.body?.cancel();
  throw new UserError(refusal(response, url, endpoint, subject, token), { code: "download_failed" });
}

/** The innermost reason: fetch wraps what happened in "fetch failed", and a list of attempts has no text of its own. */
function reasonOf(error: unknown): string {
  const { cause, message, code, errors } = error as Error & { code?: string; errors?: Error[] };
  const inner = cause ?? errors?.[0];
  return inner ? reasonOf(inner) : message || code || "no reason given";
}

/** The hub's `x-error-code` tells apart what shares a status: a repository that does not exist looks like one that is private. */
function refusal(
  response: Response,
  url: string,
  endpoint: string,
  subject: Subject,
  token: Token | undefined,
): string {
  const { status, statusText, headers } = response;
  const { repository, revision } = subject;
  const login = "set HF_TOKEN, or run 'hf auth login'";
  const code = headers.get("x-error-code");
  if (code === "RevisionNotFound") return `${repository}: it has no revision '${revision}' on ${endpoint}`;
  if (code === "EntryNotFound") return `${repository}: ${new URL(url).pathname} is not there at revision '${revision}'`;
  if (status === 404) return `${repository}: not found on ${endpoint}${token ? "" : `; if it is private, ${login}`}`;
  if (status === 429) return `${endpoint}: too many requests (429); wait${waitOf(headers)} and download again`;
  if (status !== 401 && status !== 403) return `${url}: the hub answered ${status} ${statusText}${viaProxy(url)}`;
  const refused = `${repository}: access refused (${status})`;
  if (code === "GatedRepo") {
    const how = token ? `the token from ${token.from} has no access yet` : login;
    return `${refused}: it is gated; accept its conditions on ${endpoint}/${repository} (${how})`;
  }
  if (!token) return `${refused}; it does not exist, or is private or gated: ${login}`;
  return `${refused}; the token from ${token.from} is not valid or may not read it; check it with 'hf auth whoami'`;
}

function waitOf(headers: Headers): string {
  const after = headers.get("retry-after");
  return after && /^\d+$/.test(after) ? ` ${after} seconds` : "";
}

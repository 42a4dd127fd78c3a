import process from "node:process";
import { UserError } from "../../tensor/index.js";

type Fetch = typeof fetch;

/** The proxies that the environment names. */
interface Proxies {
  readonly httpProxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy: string;
}

let made: { readonly key: string; readonly fetch: Fetch } | undefined;

/**
 * `fetch` through the proxies that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name (lower case too, which goes first):
 * Node's own reads none of them before version 24. Throws UserError for a proxy that is no http or https address.
 */
export async function proxiedFetch(): Promise<Fetch> {
  const proxies = readProxies();
  if (!proxies.httpProxy && !proxies.httpsProxy) return fetch;
  const key = JSON.stringify(proxies);
  if (made?.key !== key) {
    const { EnvHttpProxyAgent, fetch: throughUndici } = await import("undici");
    // Plain http is asked of the proxy by its whole address, as curl does; a tunnel to port 80 is refused by many.
    const dispatcher = new EnvHttpProxyAgent({ ...proxies, proxyTunnel: false });
    const through = (url: string, init: object) => throughUndici(url, { ...init, dispatcher });
    made = { key, fetch: through as unknown as Fetch };
  }
  return made.fetch;
}

/** What a message about `url` adds where a proxy is set: which one, without its password. */
export function viaProxy(url: string): string {
  const { httpProxy, httpsProxy } = readProxies();
  const proxy = url.startsWith("https:") ? (httpsProxy ?? httpProxy) : httpProxy;
  return proxy ? ` (proxy: ${new URL(proxy).host}; NO_PROXY names what is reached without)` : "";
}

function readProxies(): Proxies {
  const all = proxyOf("ALL_PROXY");
  const httpProxy = proxyOf("HTTP_PROXY") ?? all;
  const httpsProxy = proxyOf("HTTPS_PROXY") ?? all;
  return { httpProxy, httpsProxy, noProxy: variable("NO_PROXY")?.value ?? "" };
}

function variable(name: string): { name: string; value: string } | undefined {
  return [name.toLowerCase(), name]
    .map((n) => ({ name: n, value: process.env[n]?.trim() ?? "" }))
    .find(({ value }) => value !== "");
}

function proxyOf(upper: string): string | undefined {
  const found = variable(upper);
  if (!found) return undefined;
  const address = /^[\w+.-]+:\/\//.test(found.value) ? found.value : `http://${found.value}`;
  if (!URL.canParse(address))
    throw new UserError(`${found.name}: this is no address of a proxy, as http://host:port is`);
  const { protocol, host } = new URL(address);
  if (protocol === "http:" || protocol === "https:") return address;
  throw new UserError(
    `${found.name}: a ${protocol.slice(0, -1)} proxy (${host}) is not supported; give an http:// one`,
  );
}

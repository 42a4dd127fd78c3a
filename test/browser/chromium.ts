import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser, BrowserContext, Page } from "playwright-core";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CHROMIUM = process.env.LOWRANK_CHROMIUM ?? "/usr/bin/chromium";

/** Why no browser can be had, for the words of a skipped test; undefined where one can. */
export const noChromium: string | undefined = existsSync(CHROMIUM)
  ? undefined
  : `${CHROMIUM} is not there (Debian: apt-get install chromium; another place: LOWRANK_CHROMIUM)`;

/** Milliseconds that a busy machine may take for what is a second's work. */
const PATIENCE = 300_000;

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
  ".json": "application/json",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".webmanifest": "application/manifest+json",
};

const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

export interface Site {
  readonly url: string;
  close(): void;
}

/**
 * Serves folders by the beginnings of paths, and texts by whole paths, to this machine alone; `isolated`: with the headers that let
 * workers share memory.
 */
export async function serveSite(places: Readonly<Record<string, string>>, { isolated = true } = {}): Promise<Site> {
  const server: Server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url!, "http://site").pathname));
    const place = Object.keys(places).find(
      (start) => path === start || (start.endsWith("/") && path.startsWith(start)),
    );
    const inline = place !== undefined && !place.endsWith("/");
    const file =
      place === undefined || inline ? undefined : join(places[place]!, path.slice(place.length) || "index.html");
    const found = file !== undefined && existsSync(file) && statSync(file).isFile();
    const type =
      TYPES[extname(inline ? ".html" : path) || ".html"] ?? TYPES[extname(file ?? "")] ?? "application/octet-stream";
    const status = inline || found ? 200 : path === "/favicon.ico" ? 204 : 404; // browsers ask for an icon by themselves
    response.writeHead(status, {
      "content-type": type,
      ...(found ? { "content-length": statSync(file).size } : {}),
      ...(isolated ? ISOLATED : {}),
    });
    if (found) createReadStream(file).pipe(response);
    else response.end(inline ? places[place]! : "");
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** WebGPU on the processor, by the driver that comes with chromium. */
const SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** Debian's chromium without a window; `gpu`: with WebGPU in software. */
export async function openChromium({ gpu = false } = {}): Promise<Browser> {
  const { chromium } = await import("playwright-core");
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage", ...(gpu ? SOFTWARE_GPU : [])],
    timeout: PATIENCE,
  });
}

/** Why WebGPU cannot be tried, for the words of a skipped test; undefined where it can. */
export async function whyNoGpu(): Promise<string | undefined> {
  if (noChromium) return noChromium;
  const [browser, site] = [await openChromium({ gpu: true }), await serveSite({ "/page": "<!doctype html>" })];
  try {
    const { page } = await openPage(browser, `${site.url}/page`);
    const found = await page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter()));
    return found ? undefined : `${CHROMIUM} gives no WebGPU adapter with ${SOFTWARE_GPU.join(" ")}`;
  } finally {
    await browser.close();
    site.close();
  }
}

/** A page whose errors end up in `errors`. */
export async function openPage(
  context: BrowserContext | Browser,
  url: string,
): Promise<{ page: Page; errors: string[] }> {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  await page.goto(url);
  return { page, errors };
}

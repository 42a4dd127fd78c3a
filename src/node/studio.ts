import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { extname, join } from "node:path";
import type { StudioHost } from "../studio/host.js";
import { createStudioServer, type PageFile } from "../studio/http.js";
import { createStudio } from "../studio/studio.js";
import { UserError } from "../tensor/index.js";
import { serveHttp } from "./http-server.js";
import { installedModels } from "./hub/installed.js";
import { isFolderTaken } from "./lock.js";
import { PACKAGE } from "./package.js";
import { nodePlatform } from "./platform.js";

export interface StudioOptions {
  /** Default 0: a free one. */
  readonly port?: number;
  /** Where runs, uploaded rows and exports go. Default "runs". */
  readonly folder?: string;
  /** Told of every address by which the page can be opened: the first, and another one when that was used. */
  readonly onAddress: (address: string) => void;
  /** Told of errors that are no user's. */
  readonly onError?: (error: unknown) => void;
}

/** A studio that runs. */
export interface StudioServing {
  readonly url: string;
  /** Stops the run in progress with a checkpoint, and everything else. */
  close(): Promise<void>;
}

const PAGE = join(PACKAGE, "studio", "dist");

/**
 * Serves the studio's page on this machine, loopback only. Throws UserError when the page was not built or the port is taken.
 */
export async function serveStudio({
  port = 0,
  folder = "runs",
  onAddress,
  onError = () => undefined,
}: StudioOptions): Promise<StudioServing> {
  if (!(await page("/index.html")))
    throw new UserError(`${PAGE}: the studio's page is not built; run: npm run studio:build`, { code: "not_found" });
  const platform = nodePlatform();
  const studio = createStudio(platform, nodeHost(folder.replace(/(?<=.)\/+$/, "")), onError);
  const addressOf = (token: string) => `${http.url}/#token=${token}`;
  const server = createStudioServer(studio, { page, onToken: (token) => onAddress(addressOf(token)), onError });
  const http = await serveHttp(server.fetch, { port });
  onAddress(addressOf(server.token));
  return {
    url: http.url,
    async close() {
      await http.close();
      await studio.close();
      await platform.dispose();
    },
  };
}

function nodeHost(folder: string): StudioHost {
  return {
    folder,
    home: homedir(),
    models: async () => [{ name: "models/tiny", from: "comes with lowrank" }, ...installedModels()],
    isTaken: isFolderTaken,
    async download(name, { signal, onProgress }) {
      const { downloadModel } = await import("./hub/download.js");
      await downloadModel(name, { signal, onProgress: ({ done, total }) => onProgress(done, total) });
      return name;
    },
    async serve(model, { name, folder: adapter }) {
      const { serve } = await import("./serve.js");
      return serve(model, { port: 0, adapters: { [name]: adapter } });
    },
  };
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".webmanifest": "application/manifest+json",
};

/** A file of the built page; nothing above its folder. */
async function page(path: string): Promise<PageFile | undefined> {
  const type = TYPES[extname(path)];
  if (type === undefined || !/^(\/[\w-][\w.-]*)+$/.test(path)) return undefined;
  const bytes = await readFile(join(PAGE, path)).catch(() => undefined);
  return bytes && { bytes, type, lasting: path.startsWith("/assets/") };
}

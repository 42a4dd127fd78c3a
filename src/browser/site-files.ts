import type { Files } from "../formats/files.js";
import { UserError } from "../tensor/index.js";
import { type HeldFile, heldFiles } from "./files/dropped-files.js";

/** What the site has of models: `models/files.json` beside them, written when the site is built. */
export interface SiteFile {
  readonly path: string;
  readonly size: number;
}

/** The models that a site brings with it, under `models/` of its address: each file is fetched when it is first read, and once. */
export async function siteFiles(site: string): Promise<Files> {
  const folder = new URL("models/", site);
  const listed = (await (await fetched(new URL("files.json", folder))).json()) as readonly SiteFile[];
  return heldFiles(
    new Map(listed.map(({ path, size }) => [path, onceFetched(new URL(path, folder), size)])),
    "what the page brings with it",
  );
}

function onceFetched(url: URL, size: number): HeldFile {
  let blob: Promise<Blob> | undefined;
  return {
    size,
    blob: () =>
      (blob ??= fetched(url)
        .then((response) => response.blob())
        .catch((error: unknown) => {
          blob = undefined;
          throw error;
        })),
  };
}

async function fetched(url: URL): Promise<Response> {
  const response = await fetch(url).catch((error: Error) => error.message);
  if (typeof response !== "string" && response.ok) return response;
  const why = typeof response === "string" ? response : `the site answered ${response.status}`;
  throw new UserError(`${url.pathname}: this file of the page cannot be had (${why}); load the page again`, {
    code: "download_failed",
  });
}

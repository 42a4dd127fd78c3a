import { baseName, type Files, join } from "../formats/files.js";
import { UserError } from "../tensor/index.js";
import { type DownloadOptions, download } from "./download.js";
import { holding } from "./lock.js";

/** Where models go that are downloaded, in the page's storage. */
export const DOWNLOADED = "downloaded";

/** Without encryption only from this machine itself. */
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/**
 * Downloads a GGUF file by its address into the page's storage, going on with what came of it earlier; the path of the file. Throws
 * UserError for an address that is none of a GGUF file's, a name that is taken, a second download of the same at once, and as `download`.
 */
export async function fetchModel(files: Files, address: string, options: DownloadOptions): Promise<string> {
  const url = addressOf(address);
  const path = join(DOWNLOADED, plainName(url));
  const twice = `${path}: it is being downloaded already, in this tab or another; wait for it, or stop it there`;
  return holding(path, twice, async () => {
    if (await files.stat(path))
      throw new UserError(
        `${path}: a model of this name is here already; choose it, or delete it on the screen of runs`,
      );
    await files.makeFolder(DOWNLOADED);
    await download(files, url.href, path, options);
    return path;
  });
}

/** The models that were downloaded whole. */
export async function downloadedModels(files: Files): Promise<string[]> {
  if ((await files.stat(DOWNLOADED))?.kind !== "folder") return [];
  return (await files.list(DOWNLOADED)).filter((name) => /\.gguf$/i.test(name)).map((name) => join(DOWNLOADED, name));
}

/** The address of the bytes; a hub's page about a file (`/blob/`) stands for the file (`/resolve/`). */
function addressOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isSafe = url?.protocol === "https:" || (url?.protocol === "http:" && LOOPBACK.includes(url.hostname));
  if (!url || !isSafe || !/\.gguf$/i.test(url.pathname) || nameIn(url) === undefined)
    throw new UserError(
      `'${text.slice(0, 200)}': expected the https address of a GGUF file, such as ` +
        "https://huggingface.co/OWNER/NAME/resolve/main/FILE.gguf",
    );
  if (url.hostname === "huggingface.co")
    url.pathname = url.pathname.replace(/^(\/[^/]+\/[^/]+)\/blob\//, "$1/resolve/");
  return url;
}

/** The last part of an address; undefined where its `%` are no characters. */
function nameIn({ pathname }: URL): string | undefined {
  try {
    return decodeURIComponent(baseName(pathname));
  } catch {
    return undefined;
  }
}

/** A file's name out of an address, of characters that any storage takes. */
function plainName(url: URL): string {
  const name = baseName(nameIn(url)!);
  return name.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[.-]+(?=.+\.gguf$)/i, "");
}

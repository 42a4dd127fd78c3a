import { UserError } from "../tensor/index.js";
import type { StudioHost } from "./host.js";
import type { Models } from "./models.js";

/** An adapter that is served at an address of its own. */
export interface ServedAdapter {
  readonly url: string;
  readonly base: string;
  readonly adapter: string;
  /** What clients call it. */
  readonly model: string;
}

/** The servers that the page began. */
export interface Served {
  list(): readonly ServedAdapter[];
  start(base: string, adapter: string, name: string): Promise<ServedAdapter>;
  /** Throws UserError for an address at which nothing of the studio's is. */
  stop(url: string): Promise<void>;
  close(): Promise<void>;
}

export function createServed(host: StudioHost, models: Models): Served {
  const open = new Map<string, { readonly about: ServedAdapter; close(): Promise<void> }>();
  const stop = async (url: string): Promise<void> => {
    const found = open.get(url);
    if (!found) throw new UserError(`${url}: nothing is served there`, { code: "not_found" });
    open.delete(url);
    await found.close();
  };
  return {
    list: () => [...open.values()].map(({ about }) => about),
    async start(base, adapter, name) {
      if (!host.serve) throw new UserError(host.lacks?.serve ?? "nothing can be served from here");
      const lease = await models.lease({ base });
      try {
        const server = await host.serve(lease.model, { name, folder: adapter });
        const about = { url: server.url, base, adapter, model: name };
        const close = () => server.close().finally(lease.release);
        open.set(server.url, { about, close });
        return about;
      } catch (error) {
        lease.release();
        throw error;
      }
    },
    stop,
    async close() {
      for (const url of [...open.keys()]) await stop(url);
    },
  };
}

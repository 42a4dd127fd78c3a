import type { LoadedModel } from "../recipes/model.js";

/** A model that is on this machine. */
export interface FoundModel {
  /** What a config's `base` calls it. */
  readonly name: string;
  /** Where it was found, in words: "comes with lowrank", "Hugging Face cache". */
  readonly from: string;
}

/** What the studio wants of the system beside a platform. What is left out is not offered on the page. */
export interface StudioHost {
  /** Where runs, uploaded rows and exports go. Runs in it are shown, whoever began them. */
  readonly folder: string;
  /** What the person before the page should know of where it runs, a sentence each. Default: none. */
  readonly notes?: readonly string[];
  /** Why what is left out cannot be had, and what to do instead: shown where it would be. */
  readonly lacks?: { readonly download?: string; readonly serve?: string };
  /** The home folder, which `~` means. */
  readonly home?: string;
  /** Storage that is the studio's own, where there is no disk: how full it is, in bytes, and its folder of downloaded models. */
  readonly storage?: {
    readonly models: string;
    room(): Promise<{ readonly used: number | null; readonly quota: number | null }>;
  };
  models(): Promise<readonly FoundModel[]>;
  /** Whether a program that is alive has the folder, such as a run in a terminal. */
  isTaken(folder: string): Promise<boolean>;
  /** Downloads `owner/name` from a hub, or in a page a file by its address; the name to use it by. A total of 0 is one that is not known. */
  download?(
    name: string,
    options: { readonly signal: AbortSignal; onProgress(done: number, total: number): void },
  ): Promise<string>;
  /** Serves a base and one adapter as OpenAI's API, at an address of its own. */
  serve?(
    model: LoadedModel,
    adapter: { readonly name: string; readonly folder: string },
  ): Promise<{ readonly url: string; close(): Promise<void> }>;
}

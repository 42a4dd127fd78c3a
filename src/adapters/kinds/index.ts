import { biased } from "./biased.js";
import { dora } from "./dora.js";
import type { AdapterKind, AdapterSite } from "./kind.js";
import { lora } from "./lora.js";

export { A, type AdapterKind, type AdapterSite, B, type Update } from "./kind.js";

/** Every kind of adapter. */
export const KINDS = { lora, dora, biased } as const satisfies Readonly<Record<string, AdapterKind>>;

export type KindName = keyof typeof KINDS;

/** The keys of PEFT's configuration, and of the `lora` section, that ask for a kind. */
export type KindKey = {
  [K in KindName]: (typeof KINDS)[K] extends { readonly key: infer Key } ? Key : never;
}[KindName];

/** A linear layer with an adapter of some kind. */
export interface KindSite extends AdapterSite {
  /** Default "lora". */
  readonly kind?: KindName;
}

export const kindOf = (name: KindName = "lora"): AdapterKind => KINDS[name];

/** Each key that asks for a kind, and that kind. */
export const KIND_KEYS = (Object.entries(KINDS) as [KindName, AdapterKind][]).flatMap(([name, { key }]) =>
  key === undefined ? [] : [[key as KindKey, name] as const],
);

/** The kind that a configuration on disk asks for; undefined: plain LoRA. */
export const kindAsked = (keys: Readonly<Record<string, unknown>>): KindName | undefined =>
  KIND_KEYS.find(([key]) => keys[key] === true)?.[1];

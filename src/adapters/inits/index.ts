import { eva } from "./eva.js";
import { gaussian } from "./gaussian.js";
import type { AdapterInit } from "./init.js";
import { kaiming } from "./kaiming.js";
import { loftq } from "./loftq.js";
import { olora } from "./olora.js";
import { pissa } from "./pissa.js";

export type { AdapterInit, Factors, Seen } from "./init.js";

/** Every start of an adapter, by its name in `lora.init`. */
export const INITS = { gaussian, kaiming, pissa, olora, loftq, eva } as const satisfies Readonly<
  Record<string, AdapterInit>
>;

export type InitName = keyof typeof INITS;

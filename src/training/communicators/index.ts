import type { Communicator } from "./communicator.js";
import { local } from "./local.js";

/** Every way for processes to come together, by name; to add one is a file and a row. */
export const COMMUNICATORS = { local } as const satisfies Record<string, () => Communicator | Promise<Communicator>>;

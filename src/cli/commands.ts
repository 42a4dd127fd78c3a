import { ADAPTERS } from "./commands/adapters.js";
import type { CommandEntry } from "./commands/entry.js";
import { MODELS } from "./commands/models.js";
import { TOOLS } from "./commands/tools.js";
import { TRAINING } from "./commands/training.js";

export type { CommandEntry, HelpTable } from "./commands/entry.js";

/** Every verb of the command line: help, parsing, completions and docs/cli.md come from this table. */
export const COMMANDS: readonly CommandEntry[] = [...TRAINING, ...MODELS, ...ADAPTERS, ...TOOLS];

import type { ToolFormat } from "./format.js";
import { granite } from "./granite.js";
import { hermes } from "./hermes.js";
import { llama3 } from "./llama3.js";
import { mistral } from "./mistral.js";
import { readsVariable, withCalls, withTools } from "./prelude.js";

export type { ToolFormat } from "./format.js";

/** The formats, in the order in which they are tried on a template. */
const FORMATS: readonly ToolFormat[] = [mistral, granite, hermes, llama3];

/** A chat template for conversations with tools. */
export interface ToolTemplate {
  readonly template: string;
  /** How the model writes calls; undefined where the template has a form of its own that is not known. */
  readonly format: ToolFormat | undefined;
}

/**
 * The template by which conversations with tools or calls are written. One that knows no tools gets them in the system message and
 * has calls and results written as Hermes has them; one that shows tools and writes no calls gets those in its own format.
 */
export function toolTemplate(template: string): ToolTemplate {
  const format = FORMATS.find((one) => one.tells(template));
  const writes = readsVariable(template, "tool_calls");
  if (!readsVariable(template, "tools")) {
    const own = writes ? format : hermes;
    return own ? { template: withTools(template, own, writes), format: own } : { template, format };
  }
  if (writes) return { template, format };
  return { template: withCalls(template, format ?? hermes), format: format ?? hermes };
}

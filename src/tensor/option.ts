/**
 * Options that messages name: in TypeScript's words, because what is neutral knows neither a command line nor a server. Whoever
 * shows a message says them in its own words (`phrased`).
 */
export const OPTIONS = [
  "adapter",
  "base",
  "data.maxSeqLen",
  "data.onOverflow",
  "include",
  "logitBias",
  "method",
  "output",
  "port",
  "quantize",
  "rank",
  "resume",
  "run",
  "shape",
  "splitMaxSize",
  "to",
] as const;

export type OptionName = (typeof OPTIONS)[number];

/** An option in a message, and its value where the message is about one: `to: gguf`. As it stands it is TypeScript's wording. */
export function option(name: OptionName, value?: string | number | boolean): string {
  return value === undefined ? `\`${name}\`` : `\`${name}: ${value}\``;
}

/** A message with its options as `say` words them. */
export function phrased(message: string, say: (name: OptionName, value: string | undefined) => string): string {
  return message.replace(MENTION, (_, name: OptionName, value: string | undefined) => say(name, value));
}

const MENTION = new RegExp(`\`(${OPTIONS.join("|")})(?:: ([^\`]*))?\``, "g");

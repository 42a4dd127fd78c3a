import { createPace } from "../tensor/pace.js";
import type { ChatTemplate, Message } from "../tokenizers/chat-template.js";
import type { Encoding } from "../tokenizers/encoding.js";
import type { TemplateArguments } from "../tokenizers/template-arguments.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";

/** A conversation, and what its template is told beside it. */
export interface Conversation {
  readonly messages: readonly Message[];
  /** Shown to the model by the template, where it has a place for them. */
  readonly tools?: readonly unknown[];
  /** Arguments of the chat template, before all others. */
  readonly chatTemplateKwargs?: TemplateArguments;
  /** Whether the text ends where an answer begins. Default true. */
  readonly addGenerationPrompt?: boolean;
}

/** A conversation as its template writes it. Throws UserError for messages that the template refuses. */
export function rendered(chat: ChatTemplate, { messages, ...more }: Conversation): Promise<string> {
  return chat.render(messages, { addGenerationPrompt: true, ...more });
}

/**
 * The tokens of a text and the characters that each covers; others get a turn while a long one is read. `addSpecialTokens`: with
 * what the tokenizer adds to plain text, usually a BOS. Throws the signal's reason once it is aborted.
 */
export async function tokensOf(
  tokenizer: Tokenizer,
  text: string,
  { addSpecialTokens, signal }: { readonly addSpecialTokens: boolean; readonly signal?: AbortSignal },
): Promise<Encoding> {
  const pace = createPace();
  const steps = tokenizer.encodeInSteps(text, { addSpecialTokens });
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await pace();
    signal?.throwIfAborted();
  }
}

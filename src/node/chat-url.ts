import type { AskChat } from "../recipes/augment/model-wordings.js";
import { askChat, ChatFault, chatAddress } from "../recipes/chat-client.js";
import { UserError } from "../tensor/index.js";
import { proxiedFetch, viaProxy } from "./hub/proxy.js";

export interface OpenAIChatOptions {
  /** The beginning of an OpenAI-compatible API, `http://127.0.0.1:8000/v1`; or its `/chat/completions`. */
  readonly url: string;
  /** The model, by the name that the API knows it by. */
  readonly model: string;
  /** Default: OPENAI_API_KEY of the environment, and none where it is not set. Sent to the url alone. */
  readonly apiKey?: string;
  /** Default 0.8. */
  readonly temperature?: number;
  /** The most tokens of an answer. Default 512. */
  readonly maxTokens?: number;
  /** How often the same is asked where the model cannot be reached or answers nonsense. Default 3. */
  readonly tries?: number;
  /** What an answer may take. Default 120. */
  readonly seconds?: number;
}

/**
 * Asks a model behind an OpenAI-compatible URL (POST /chat/completions), for `augment`'s wordings. Proxies of the environment are
 * followed. Throws UserError for what is no address; what is asked throws it when the server cannot be reached, refuses or answers
 * something else.
 */
export function openAIChat(options: OpenAIChatOptions): AskChat {
  const { url, model, apiKey, temperature = 0.8, maxTokens = 512, tries = 3, seconds = 120 } = options;
  const address = chatAddress(url);
  const key = apiKey ?? process.env.OPENAI_API_KEY;
  return async (messages, { seed, signal }) => {
    const request = { model, messages, temperature, max_tokens: maxTokens, seed };
    const asked = { address, key, tries, seconds, fetch: await proxiedFetch() };
    try {
      return await askChat(asked, request, (text) => text, signal);
    } catch (error) {
      if (!(error instanceof ChatFault)) throw error;
      const message = `${address}: ${error.message}${viaProxy(address)}`;
      throw new UserError(message, { cause: error, code: "download_failed" });
    }
  };
}

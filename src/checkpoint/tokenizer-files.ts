import type { TokenizerFiles } from "../tokenizers/files.js";
import { type Files, join } from "./files.js";
import { jsonBytes } from "./json.js";

/** Writes a tokenizer into a folder: its files as they were, or `tokenizer.json` and `tokenizer_config.json` made anew. */
export async function writeTokenizer(files: Files, folder: string, tokenizer: TokenizerFiles): Promise<void> {
  const { tokenizerJson, tokenizerConfig, chatTemplate } = tokenizer;
  if (tokenizer.originals) {
    for (const [name, bytes] of tokenizer.originals) await files.write(join(folder, name), bytes);
    return;
  }
  const config = chatTemplate === undefined ? tokenizerConfig : { ...tokenizerConfig, chat_template: chatTemplate };
  await files.write(join(folder, "tokenizer.json"), jsonBytes(tokenizerJson));
  await files.write(join(folder, "tokenizer_config.json"), jsonBytes(config));
}

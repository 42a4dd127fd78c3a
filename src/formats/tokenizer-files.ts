import { type TokenizerFiles, templatesForConfig } from "../tokenizers/files.js";
import { type Files, join } from "./files.js";
import { jsonBytes } from "./json.js";

/** Writes a tokenizer into a folder: its files as they were, or `tokenizer.json` and `tokenizer_config.json` made anew. */
export async function writeTokenizer(files: Files, folder: string, tokenizer: TokenizerFiles): Promise<void> {
  const { tokenizerJson, tokenizerConfig, specialTokensMap } = tokenizer;
  if (tokenizer.originals) {
    for (const [name, bytes] of tokenizer.originals) {
      const slash = name.lastIndexOf("/");
      if (slash >= 0) await files.makeFolder(join(folder, name.slice(0, slash)));
      await files.write(join(folder, name), bytes);
    }
    return;
  }
  const template = templatesForConfig(tokenizer);
  const config = template === undefined ? tokenizerConfig : { ...tokenizerConfig, chat_template: template };
  await files.write(join(folder, "tokenizer.json"), jsonBytes(tokenizerJson));
  await files.write(join(folder, "tokenizer_config.json"), jsonBytes(config));
  if (specialTokensMap) await files.write(join(folder, "special_tokens_map.json"), jsonBytes(specialTokensMap));
}

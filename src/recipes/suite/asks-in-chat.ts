import { baseName, folderOf, join } from "../../formats/files.js";
import { readObject } from "../../formats/json.js";
import { UserError } from "../../tensor/index.js";
import { hasTemplates } from "../../tokenizers/files.js";
import type { LoadedAdapter, LoadedModel } from "../model.js";
import { OUTPUT } from "../run-folder.js";
import type { Suite } from "./suite-file.js";

/**
 * Whether a suite's questions go through the chat template: what the suite says, else the caller, else the manifest of the run that made
 * the adapter. Where nobody says it, through the template that there is. Throws UserError for a system message that cannot be written.
 */
export async function asksInChat(
  model: LoadedModel,
  { path, system, applyChatTemplate }: Suite,
  known: { readonly chat: boolean | undefined; readonly adapter: LoadedAdapter | undefined },
): Promise<boolean> {
  const { adapter } = known;
  const hasTemplate = hasTemplates(model.open.tokenizer) || adapter?.chat !== undefined;
  const wanted = applyChatTemplate ?? known.chat ?? (adapter && (await learnedInChat(model, adapter)));
  const chat = wanted === undefined ? hasTemplate : wanted && hasTemplate;
  if (applyChatTemplate && !hasTemplate)
    throw new UserError(`${path}: apply_chat_template: ${model.name} has no chat template; leave the key out`);
  if (!chat && system !== undefined)
    throw new UserError(
      `${path}: system: the questions are asked as plain texts, which have no place for a system message; leave it out, or set apply_chat_template: true`,
    );
  return chat;
}

/** Whether the rows of an adapter's run were conversations; undefined where its folder stands beside no manifest that says it. */
async function learnedInChat(
  { platform: { files } }: LoadedModel,
  { path }: LoadedAdapter,
): Promise<boolean | undefined> {
  if (baseName(path) !== OUTPUT.adapter) return undefined;
  const manifest = await readObject(files, join(folderOf(path), OUTPUT.manifest)).catch(() => undefined);
  const said = (manifest?.data as { apply_chat_template?: unknown } | undefined)?.apply_chat_template;
  return typeof said === "boolean" ? said : undefined;
}

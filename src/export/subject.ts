import { baseName, type Files, join } from "../formats/files.js";
import { readObject } from "../formats/json.js";
import { type Adapter, changesNothing, readAdapter } from "../formats/peft/adapter.js";
import { readPeftConfig } from "../formats/peft/config.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { createChatTemplate } from "../tokenizers/chat-template.js";
import { hasTemplates, onlyTemplates, type TokenizerFiles } from "../tokenizers/files.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { compareBase } from "../weights/adapter-base.js";
import { openAsAdapted } from "../weights/as-adapted.js";
import { type OpenModel, readTokenizer } from "../weights/model-folder.js";
import type { Speaker } from "./gates.js";

/** What is exported, opened: the base as the adapter speaks it, or a model without one. */
export interface Subject {
  readonly model: OpenModel;
  readonly adapter?: Adapter;
  readonly speaker: Speaker;
  readonly name: string;
  readonly stops: ReadonlySet<number>;
  readonly warnings: readonly string[];
}

export type AdapterSubject = Subject & { readonly adapter: Adapter };

/** Throws UserError when something is at `output` already. */
export async function refuseTaken(files: Files, output: string): Promise<void> {
  if (!(await files.stat(output))) return;
  throw new UserError(`${output}: something is there already; choose another name, or remove it first`);
}

/** The base that an adapter folder names. Throws UserError when it names none. */
export async function namedBase(files: Files, path: string): Promise<string> {
  const config = join(path, "adapter_config.json");
  const json = await readObject(files, config);
  if (!json) throw new UserError(`${path}: no adapter here (adapter_config.json is missing)`, { code: "not_found" });
  const { baseModel } = readPeftConfig(json, config);
  if (baseModel === undefined) throw new UserError(`${path}: it names no base model; give it with ${option("base")}`);
  return baseModel;
}

/** A base with an adapter, or by itself where none is named. Throws UserError when the adapter is of another base. */
export async function openSubject(
  { adapter, output }: { readonly adapter?: string; readonly output: string },
  base: OpenModel,
  platform: Platform,
): Promise<Subject> {
  if (adapter !== undefined) return openAdapted({ adapter, output }, base, platform);
  const speaker = speakerOf(base.tokenizer, platform.templates);
  const stops = new Set([...base.generationConfig.eosIds, ...((await speaker.chat?.stopIds()) ?? [])]);
  return { model: base, speaker, name: nameOf(output), stops, warnings: [] };
}

/** What a GGUF is called inside. */
const nameOf = (output: string): string => baseName(output).replace(/\.gguf$/, "");

async function openAdapted(
  options: { readonly adapter: string; readonly output: string },
  base: OpenModel,
  { files, templates }: Platform,
): Promise<AdapterSubject> {
  const adapter = await readAdapter(files, options.adapter, base.config);
  if ((await compareBase(adapter, base)) === "different")
    throw new UserError(
      `${base.path}: this adapter was trained on another base (${adapter.base.name ?? "unnamed"}); give that one as ${option("base")}`,
      { code: "wrong_base" },
    );
  const names = await files.list(options.adapter);
  const own: TokenizerFiles | undefined = names.includes("tokenizer.json")
    ? await readTokenizer(files, options.adapter, names)
    : undefined;
  const tokenizer = own
    ? {
        ...own,
        ...(hasTemplates(own) ? {} : onlyTemplates(base.tokenizer)),
      }
    : base.tokenizer;
  const speaker = speakerOf(tokenizer, templates);
  const stops = new Set([...base.generationConfig.eosIds, ...((await speaker.chat?.stopIds()) ?? [])]);
  const eosIds = [...stops];
  const eos = eosIds.length === 1 ? eosIds[0] : eosIds;
  const warnings = changesNothing(adapter) ? [`${options.adapter} changes nothing: every B is zero`] : [];
  return {
    model: {
      ...openAsAdapted(base, adapter.config),
      tokenizer,
      generationConfig: { ...base.generationConfig, eosIds },
      ...(base.generationJson ? { generationJson: { ...base.generationJson, eos_token_id: eos } } : {}),
    },
    adapter,
    speaker,
    name: nameOf(options.output),
    stops,
    warnings,
  };
}

/** What turns text into ids, out of a tokenizer's files. */
export function speakerOf(files: TokenizerFiles, runner: Platform["templates"]): Speaker {
  const tokenizer = createTokenizer(files);
  return {
    tokenizer,
    ...(hasTemplates(files) ? { chat: createChatTemplate(files, tokenizer, { runner }) } : {}),
  };
}

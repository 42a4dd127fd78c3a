import { adapterFolder } from "../formats/adapter-folder.js";
import { folderVersion } from "../formats/files.js";
import { type Adapter, changesNothing, readAdapter, wholeKeys } from "../formats/peft/adapter.js";
import { Decoder, type ResidentAdapter } from "../generation/decoder.js";
import type { Platform } from "../platform/platform.js";
import { uploadTensors } from "../runtime/index.js";
import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { type ChatTemplate, createChatTemplate } from "../tokenizers/chat-template.js";
import { hasTemplates, type TokenizerFiles } from "../tokenizers/files.js";
import { refuseIdleArguments, type TemplateArguments } from "../tokenizers/template-arguments.js";
import { createTokenizer, type Tokenizer } from "../tokenizers/tokenizer.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { type PipelineOptions, readsWeight } from "../training/stages/stage.js";
import { compareBase } from "../weights/adapter-base.js";
import { refuseIdleCache } from "../weights/base-cache.js";
import { heldAs } from "../weights/base-precision.js";
import { counted, type Loading } from "../weights/counted.js";
import { loadBase } from "../weights/load-base.js";
import { loadFewBits, type Quantization } from "../weights/load-few-bits.js";
import type { ResidentModel } from "../weights/load-model.js";
import { type OpenModel, openModel, readTokenizer } from "../weights/model-folder.js";
import type { TrainConfig, TrainOptions } from "./config-schema.js";
import { decodedBy, inStage, stagesOfModel } from "./model-stages.js";
import { quantizedNorms } from "./quantized-norms.js";

/** A model that can be talked to: weights resident on a device once, whatever adapters are applied. */
export interface LoadedModel {
  /** What was asked for: the `base`. */
  readonly name: string;
  readonly platform: Platform;
  readonly open: OpenModel;
  readonly resident: ResidentModel;
  /** How the base is held. */
  readonly basePrecision: TrainConfig["basePrecision"];
  readonly bnb4bitUseDoubleQuant: boolean;
  readonly tokenizer: Tokenizer;
  readonly decoder: Decoder;
  /** Where ranks hold the model together: which blocks are whose. */
  readonly pipeline?: PipelineOptions | undefined;
  /** The base's chat template, or that of other files of its tokenizer. Throws UserError when there is none. */
  chat(files?: TokenizerFiles): ChatTemplate;
  /** Frees the device and closes the files. */
  dispose(): Promise<void>;
}

/** A LoRA adapter on a loaded model's device. */
export interface LoadedAdapter {
  readonly path: string;
  readonly adapter: Adapter;
  readonly resident: ResidentAdapter;
  /** The template that was saved beside the adapter: the one it was trained with. Undefined: the base's own. */
  readonly chat?: () => ChatTemplate;
  /** Worth knowing before it is used, e.g. that it was trained on another base. */
  readonly warnings: readonly string[];
  /** Tells the folder's content from a later one: `folderVersion` before it was read. */
  readonly version: string | undefined;
  dispose(): void;
}

export interface LoadOptions extends Pick<TrainOptions, Held | "device" | "threads" | "precision"> {
  /** For a model that only generates: its linear layers and head in 8 or 4 bits. Default "none". */
  readonly quantize?: Quantization;
  /** Arguments of chat templates, the base's and those of adapters, before what an adapter was trained with. Default: none. */
  readonly chatTemplateKwargs?: TemplateArguments;
  /**
   * The ranks that hold the model together, each a range of its blocks, so that a base which none of them has memory for can be evaluated
   * and generated with. Every rank makes the same calls in the same order, one text at a time, and each is told the result. Default:
   * all of the model is here.
   */
  readonly ranks?: Communicator;
  /** Told how much of the checkpoint has been read. */
  readonly onProgress?: (loading: Loading) => void;
  /** Told what the checkpoint says and nothing uses, and what is worth a word about `baseCache`. */
  readonly onNote?: (message: string) => void;
}

/** How a base is held, and kept so. */
type Held = "basePrecision" | "bnb4bitUseDoubleQuant" | "baseCache";

const BITS: Readonly<Record<Quantization, 4 | 8 | undefined>> = { none: undefined, int8: 8, int4: 4 };

/**
 * Loads a base model (a Hugging Face folder, a GGUF file or a downloaded `owner/name`) onto a device. Throws UserError when
 * it is not there, damaged, or of another architecture.
 */
export async function loadModel(base: string, platform: Platform, options: LoadOptions = {}): Promise<LoadedModel> {
  const { device: where = "auto", threads = 0, precision = "f32", quantize = "none" } = options;
  const { basePrecision = "f32", bnb4bitUseDoubleQuant = false, baseCache = false } = options;
  const { chatTemplateKwargs = {} } = options;
  heldAs(basePrecision, precision, bnb4bitUseDoubleQuant);
  refuseIdleCache(baseCache, basePrecision);
  const bits = BITS[quantize];
  if (bits && basePrecision !== "f32")
    throw new UserError(`quantize ${quantize} and base_precision ${basePrecision}: give one of the two`);
  const ranks = (options.ranks?.size ?? 1) > 1 ? options.ranks : undefined;
  if (ranks) refuseWhole(bits !== undefined, baseCache !== false);
  const open = await openModel(platform.files, platform.resolveModel(base));
  try {
    for (const line of open.notes) options.onNote?.(line);
    if (hasTemplates(open.tokenizer)) refuseIdleArguments(open.tokenizer, chatTemplateKwargs);
    const tokenizer = createTokenizer(open.tokenizer);
    const device = await platform.startDevice({ device: where, threads, precision });
    try {
      const held = heldAs(basePrecision, device.precision === "reduced" ? "bf16" : "f32", bnb4bitUseDoubleQuant);
      const pipeline = ranks && stagesOfModel(open, ranks, held);
      const stage = pipeline?.stages[pipeline.ranks.rank];
      const reads = stage && ((name: string) => readsWeight(stage, name, open.config));
      const resident = bits
        ? await loadFewBits(device, counted(open, options.onProgress), bits)
        : await loadBase(platform, device, open, { ...options, reads });
      const how = { basePrecision, bnb4bitUseDoubleQuant };
      const model = modelOf({ name: base, platform, open, resident, pipeline, tokenizer, ...how });
      return {
        ...model,
        chat: (files = open.tokenizer) =>
          createChatTemplate(files, tokenizer, { runner: platform.templates, chatTemplateKwargs }),
        async dispose() {
          await device.dispose();
          await open.close();
        },
      };
    } catch (error) {
      await device.dispose();
      throw error;
    }
  } catch (error) {
    await open.close();
    throw error;
  }
}

/** Throws UserError for what reads all of a base, where ranks hold it together. */
function refuseWhole(isQuantized: boolean, isKept: boolean): void {
  const name = isQuantized ? option("quantize") : isKept ? "base_cache" : undefined;
  if (name)
    throw new UserError(
      `${name} is for a base that one process holds, and here ranks hold it together; leave it out (base_precision saves memory here too)`,
    );
}

/** A model that can be talked to out of weights that somebody else holds: to dispose of it leaves them as they are. */
export function modelOf(held: Omit<LoadedModel, "decoder" | "chat" | "dispose">): LoadedModel {
  const { open, tokenizer, platform, resident, pipeline } = held;
  const decoder = new Decoder(decodedBy(resident, pipeline));
  return {
    ...held,
    decoder,
    chat: (files = open.tokenizer) => createChatTemplate(files, tokenizer, { runner: platform.templates }),
    async dispose() {
      decoder.dispose();
    },
  };
}

/**
 * Puts a PEFT adapter folder, or a run's or a checkpoint's (`adapterFolder`), beside a loaded base, whole or not at all; the base is not reloaded and any number of adapters
 * can be resident. Throws UserError when a tensor is missing, unknown or of another shape.
 */
export async function applyAdapter(model: LoadedModel, given: string): Promise<LoadedAdapter> {
  const { files } = model.platform;
  const path = await adapterFolder(files, given);
  const { config } = model.resident;
  const version = await folderVersion(files, path);
  const adapter = await readAdapter(files, path, config);
  const names = await files.list(path);
  const saved = names.includes("tokenizer.json") ? await readTokenizer(files, path, names) : undefined;
  return {
    ...(await placeAdapter(model, path, adapter)),
    ...(saved && hasTemplates(saved) ? { chat: () => model.chat(saved) } : {}),
    warnings: await warningsOf(model, path, adapter),
    version,
  };
}

/** Puts an adapter that is in memory beside a loaded base; `path` is what it is called. */
export async function placeAdapter(model: LoadedModel, path: string, adapter: Adapter): Promise<LoadedAdapter> {
  const { device, bits } = model.resident;
  const whole = wholeKeys(adapter.config);
  if (whole && bits)
    throw new UserError(
      `${path} holds weights of its own (${whole}), and ${model.name} was quantized to ${bits} bits: load it without, or merge the adapter first`,
    );
  const tensors = uploadTensors(
    device,
    inStage(new Map([...adapter.tensors, ...(await quantizedNorms(model.resident, adapter))]), model.pipeline),
  );
  await device.flush();
  return {
    path,
    adapter,
    resident: { config: adapter.config, tensors },
    warnings: [],
    version: undefined,
    dispose() {
      model.decoder.forget(tensors);
      for (const { buffer } of tensors.values()) device.free(buffer);
    },
  };
}

/** Throws UserError for an adapter that has one strength alone. */
export function refuseOtherScale({ path, adapter }: LoadedAdapter, factor: number): void {
  const whole = wholeKeys(adapter.config);
  if (whole && factor !== 1)
    throw new UserError(
      `${path} holds weights of its own (${whole}), which have no scale; leave it at 1, got ${factor}`,
    );
}

async function warningsOf(model: LoadedModel, path: string, adapter: Adapter): Promise<string[]> {
  const warnings: string[] = [];
  if ((await compareBase(adapter, model.open)) === "different") {
    warnings.push(`${path} was trained on another base (${adapter.base.name ?? "unnamed"}), not on ${model.name}`);
  }
  if (changesNothing(adapter)) {
    warnings.push(`${path} changes nothing: every B A is zero, its output equals the base's`);
  }
  return warnings;
}

/** The tokens that end a text: the model's own, and for a conversation also the one its template ends a turn with. */
export async function stopIds(
  model: Pick<LoadedModel, "name" | "open" | "tokenizer">,
  chat: ChatTemplate | undefined,
): Promise<ReadonlySet<number>> {
  const ids = new Set(model.open.generationConfig.eosIds);
  if (model.tokenizer.eosId !== undefined) ids.add(model.tokenizer.eosId);
  if (chat) for (const id of await chat.stopIds()) ids.add(id);
  if (ids.size === 0) throw new UserError(`${model.name}: it names no end-of-sequence token, so texts would never end`);
  return ids;
}

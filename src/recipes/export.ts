import { baseName, type Files, join, writeFolder } from "../checkpoint/files.js";
import { exportGguf } from "../checkpoint/gguf-export.js";
import { exportGgufLora, type LoraGgufType, readGgufLora } from "../checkpoint/gguf-lora.js";
import { readObject } from "../checkpoint/json.js";
import { mergeModel } from "../checkpoint/merge.js";
import { type OpenModel, openModel, readTokenizer } from "../checkpoint/model-folder.js";
import {
  type Adapter,
  adaptedModule,
  adaptedModules,
  changesNothing,
  compareBase,
  readAdapter,
  writeAdapter,
} from "../checkpoint/peft.js";
import { readPeftConfig } from "../checkpoint/peft-config.js";
import { GGUF_WEIGHT_TYPES, type GgufWeightType } from "../checkpoint/quants-encode.js";
import type { WeightDtype } from "../checkpoint/safetensors-writer.js";
import { type LoraConfig, modulePath, patternsOf } from "../models/lora-config.js";
import { tensor } from "../runtime/index.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import { createChatTemplate } from "../tokenizers/chat-template.js";
import type { TokenizerFiles } from "../tokenizers/files.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import type { TrainConfig } from "./config-schema.js";
import {
  agreement,
  DRIFT,
  type GateResult,
  mergeResident,
  type Observed,
  observe,
  probeIds,
  type Speaker,
  tokenGate,
  worst,
} from "./export-gates.js";
import { modelfile } from "./export-modelfile.js";
import { type ExportTarget, type SystemVerdict, systemsFor } from "./export-systems.js";
import { loadWeights } from "./load-model.js";
import { applyAdapter, type LoadedModel, loadModel } from "./model.js";
import type { Platform } from "./platform.js";

export interface ExportOptions extends Partial<Pick<TrainConfig, "device" | "threads">> {
  readonly adapter: string;
  /** Default: the model that the adapter names. */
  readonly base?: string;
  readonly to: ExportTarget;
  /** A folder, or for the GGUF targets also a file that ends in `.gguf`. */
  readonly output: string;
  /** Default: hf keeps the base's types, gguf is f16, gguf-lora f32. */
  readonly quantize?: GgufWeightType;
  /** Run adapter, merged model and export and compare them; the whole model is in memory for that. Default true. */
  readonly run?: boolean;
}

export interface ExportReport {
  readonly output: string;
  readonly to: ExportTarget;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  readonly gates: readonly GateResult[];
  readonly systems: readonly SystemVerdict[];
  readonly warnings: readonly string[];
}

/** What is exported, opened: the base as the adapter speaks it. */
interface Subject {
  readonly model: OpenModel;
  readonly adapter: Adapter;
  readonly speaker: Speaker;
  readonly name: string;
  readonly stops: ReadonlySet<number>;
  readonly warnings: readonly string[];
}

/**
 * Exports an adapter so that another system runs it, and holds the result against the adapter before it keeps it: prompts
 * become the same ids, the effective scale survives, a tied head stays tied, and base + adapter, the merged model and the
 * export say the same. An export that fails a gate is deleted. Throws UserError then; when the adapter is of another base;
 * and when `output` holds something already.
 */
export async function exportAdapter(options: ExportOptions, platform: Platform): Promise<ExportReport> {
  const { to, output } = options;
  const { files } = platform;
  const type = typeFor(options);
  await refuseTaken(files, output);
  const base = options.base ?? (await namedBase(files, options.adapter));
  const model = await openModel(files, platform.resolveModel(base));
  try {
    const subject = await openSubject(options, model, platform);
    const asFile = output.endsWith(".gguf");
    const draft = asFile ? output.replace(/\.gguf$/, ".unchecked.gguf") : `${output}.unchecked`;
    await files.remove(draft);
    try {
      const path = await write(files, subject, { to, type, draft, asFile });
      const gates = await passGates(options, base, subject, path, platform);
      await files.rename(draft, output);
      const final = asFile || path === draft ? output : join(output, baseName(path));
      const beside = to === "gguf" ? await writeModelfile(files, subject, output, final, asFile) : [];
      const systems = systemsFor(to, final, model, subject.adapter);
      const written = await sizes(files, [output, ...beside]);
      return { output, to, files: written, gates, systems, warnings: subject.warnings };
    } finally {
      await files.remove(draft);
    }
  } finally {
    await model.close();
  }
}

/** The type that is written, or undefined: as it is. Throws UserError for one that the target does not have. */
function typeFor({ to, quantize, output }: ExportOptions): GgufWeightType | undefined {
  const floats = ["f32", "f16", "bf16"];
  const allowed = { peft: ["f32"], hf: floats, gguf: [...GGUF_WEIGHT_TYPES], "gguf-lora": floats }[to];
  if (quantize && !allowed.includes(quantize))
    throw new UserError(`--quantize ${quantize}: --to ${to} is written as ${allowed.join(", ")}`);
  if (output.endsWith(".gguf") && !to.startsWith("gguf"))
    throw new UserError(
      `${output}: --to ${to} writes a folder; a name that ends in .gguf is for --to gguf and gguf-lora`,
    );
  return quantize ?? { peft: undefined, hf: undefined, gguf: "f16" as const, "gguf-lora": "f32" as const }[to];
}

/** Throws UserError when something is at `output` already. */
export async function refuseTaken(files: Files, output: string): Promise<void> {
  if (!(await files.stat(output))) return;
  throw new UserError(`${output}: something is there already; choose another name, or remove it first`);
}

/** The base that an adapter folder names. Throws UserError when it names none. */
export async function namedBase(files: Files, path: string): Promise<string> {
  const config = join(path, "adapter_config.json");
  const json = await readObject(files, config);
  if (!json) throw new UserError(`${path}: no adapter here (adapter_config.json is missing)`);
  const { baseModel } = readPeftConfig(json, config);
  if (baseModel === undefined) throw new UserError(`${path}: it names no base model; give it with --base`);
  return baseModel;
}

async function openSubject(options: ExportOptions, base: OpenModel, { files, templates }: Platform): Promise<Subject> {
  const adapter = await readAdapter(files, options.adapter, base.config);
  if ((await compareBase(adapter, base)) === "different")
    throw new UserError(
      `${base.path}: this adapter was trained on another base (${adapter.base.name ?? "unnamed"}); give that one with --base`,
    );
  const names = await files.list(options.adapter);
  const own: TokenizerFiles | undefined = names.includes("tokenizer.json")
    ? await readTokenizer(files, options.adapter, names)
    : undefined;
  const tokenizer = own
    ? {
        ...own,
        ...((own.chatTemplate ?? base.tokenizer.chatTemplate)
          ? { chatTemplate: own.chatTemplate ?? base.tokenizer.chatTemplate! }
          : {}),
      }
    : base.tokenizer;
  const speaker = speakerOf(tokenizer, templates);
  const stops = new Set([...base.generationConfig.eosIds, ...((await speaker.chat?.stopIds()) ?? [])]);
  const eosIds = [...stops];
  const eos = eosIds.length === 1 ? eosIds[0] : eosIds;
  const warnings = changesNothing(adapter) ? [`${options.adapter} changes nothing: every B is zero`] : [];
  if (options.to === "gguf-lora" && tokenizer.chatTemplate !== base.tokenizer.chatTemplate)
    warnings.push(
      "a LoRA GGUF holds no chat template, and the base's is not the one this adapter was trained with: pass it with --chat-template-file, or use --to gguf",
    );
  return {
    model: {
      ...base,
      tokenizer,
      generationConfig: { ...base.generationConfig, eosIds },
      ...(base.generationJson ? { generationJson: { ...base.generationJson, eos_token_id: eos } } : {}),
    },
    adapter,
    speaker,
    name: baseName(options.output).replace(/\.gguf$/, ""),
    stops,
    warnings,
  };
}

function speakerOf(files: TokenizerFiles, runner: Platform["templates"]): Speaker {
  const tokenizer = createTokenizer(files);
  return {
    tokenizer,
    ...(files.chatTemplate === undefined ? {} : { chat: createChatTemplate(files, tokenizer, { runner }) }),
  };
}

interface Draft {
  readonly to: ExportTarget;
  readonly type: GgufWeightType | undefined;
  readonly draft: string;
  readonly asFile: boolean;
}

/** Writes the draft and returns the path that a reader opens: a folder, or a GGUF file. */
async function write(files: Files, subject: Subject, { to, type, draft, asFile }: Draft): Promise<string> {
  const { model, adapter, name } = subject;
  if (to === "peft") {
    await writeAdapter(files, draft, { ...adapter, config: plain(adapter) }, { tokenizer: model.tokenizer });
    return draft;
  }
  if (to === "hf") {
    await mergeModel(files, model, adapter, draft, type ? { dtype: type as WeightDtype } : {});
    return draft;
  }
  const gguf = async (path: string) =>
    to === "gguf"
      ? exportGguf(files, model, adapter, path, { type: type!, name })
      : exportGgufLora(files, adapter, model.config, path, { type: type as LoraGgufType, name });
  if (asFile) await gguf(draft);
  else await writeFolder(files, draft, (folder) => gguf(join(folder, `${name}.gguf`)));
  return asFile ? draft : join(draft, `${name}.gguf`);
}

/** rsLoRA's scale said with alpha alone, which readers that know only alpha / r understand too. */
function plain(adapter: Adapter): LoraConfig {
  const { rankPattern: _, alphaPattern: __, ...rest } = adapter.config;
  if (!adapter.config.useRslora) return adapter.config;
  const modules = adaptedModules(adapter).map((module) => ({ ...module, alpha: module.scale * module.r }));
  return { ...rest, ...patternsOf(modules), useRslora: false };
}

async function passGates(
  options: ExportOptions,
  base: string,
  subject: Subject,
  path: string,
  platform: Platform,
): Promise<GateResult[]> {
  const { to } = options;
  const { files, templates } = platform;
  const gates: GateResult[] = [];
  const merged = to === "hf" || to === "gguf" ? await openModel(files, path) : undefined;
  try {
    if (to === "gguf-lora")
      gates.push({ gate: "same prompt, same ids", found: "it holds no tokenizer; the base's is used" });
    else {
      const tokenizer = merged?.tokenizer ?? (await readTokenizer(files, path, await files.list(path)));
      gates.push(await tokenGate(subject.speaker, speakerOf(tokenizer, templates)));
    }
    const back = merged ? undefined : await readBack(to, files, path, subject);
    if (back) gates.push(scaleGate(subject.adapter, back, options.quantize ?? "f32"));
    if (merged) gates.push(tiedGate(subject.model, merged));
    if (options.run === false) gates.push({ gate: "same answers", found: "not run (--no-run)" });
    else gates.push(...(await runGates(options, base, subject, merged, back, platform)));
    return gates;
  } finally {
    await merged?.close();
  }
}

function readBack(to: ExportTarget, files: Files, path: string, { model }: Subject): Promise<Adapter> {
  return to === "peft" ? readAdapter(files, path, model.config) : readGgufLora(files, path, model.config);
}

function scaleGate(before: Adapter, after: Adapter, type: GgufWeightType): GateResult {
  const slack = { f16: 2 ** -10, bf16: 2 ** -7 }[type as string] ?? 2 ** -22;
  const modules = adaptedModules(before);
  for (const { layer, name, scale, a, b } of modules) {
    const path = modulePath(layer, name);
    const other = adaptedModule(after, path);
    const same = other && near(a, 1, other.a, 1, slack) && near(b, scale, other.b, other.scale, slack);
    if (!same) throw new UserError(`${path} is not in the export as it is in the adapter; it was not kept`);
  }
  const scales = [...new Set(modules.map(({ scale }) => scale))].sort((x, y) => x - y);
  const [least, most] = [scales[0]!.toPrecision(6), scales.at(-1)!.toPrecision(6)];
  const { alpha, r, useRslora } = before.config;
  const how = scales.length > 1 ? "by patterns" : `alpha ${alpha}, r ${r}${useRslora ? ", rsLoRA" : ""}`;
  return { gate: "effective scale", found: `${least === most ? least : `${least} to ${most}`}, as trained (${how})` };
}

/** Whether two tensors, each times its factor, are the same up to a relative rounding. */
function near(a: HostTensor, factor: number, b: HostTensor, other: number, slack: number): boolean {
  const least = slack * 2 ** -14;
  return (
    a.data.length === b.data.length &&
    (a.data as Float32Array).every((x, i) => {
      const expected = x * factor;
      return Math.abs(expected - (b.data as Float32Array)[i]! * other) <= slack * Math.abs(expected) + least;
    })
  );
}

function tiedGate(before: OpenModel, after: OpenModel): GateResult {
  const tied = before.config.tieWordEmbeddings;
  if (after.config.tieWordEmbeddings !== tied || after.tensors.tensors.has("lm_head.weight") === tied)
    throw new UserError("the export's head is not tied as the base's is; it was not kept");
  return { gate: "tied head", found: tied ? "tied, as in the base" : "a head of its own, as in the base" };
}

async function runGates(
  options: ExportOptions,
  base: string,
  subject: Subject,
  merged: OpenModel | undefined,
  back: Adapter | undefined,
  platform: Platform,
): Promise<GateResult[]> {
  const ids = await probeIds(subject.speaker, subject.model.config.maxPositionEmbeddings);
  const loaded = await loadModel(base, platform, options);
  let adapter: Observed;
  let fused: Observed;
  let expected: Observed;
  let bare: Observed;
  let found: Observed | undefined;
  try {
    const { resident } = loaded;
    const applied = await applyAdapter(loaded, options.adapter);
    adapter = await observe(resident, ids, applied.resident);
    bare = await observe(resident, ids, undefined, adapter.tokens);
    found = back ? await observe(resident, ids, await onDevice(loaded, back), adapter.tokens) : undefined;
    await mergeResident(resident, loaded.open, subject.adapter, () => "f32");
    fused = await observe(resident, ids, undefined, adapter.tokens);
    expected = found ? adapter : fused;
    if (merged) {
      await mergeResident(resident, loaded.open, subject.adapter, (name) => merged.tensors.tensors.get(name)!.stored);
      expected = await observe(resident, ids, undefined, adapter.tokens);
    }
  } finally {
    await loaded.dispose();
  }
  found ??= await runAlone(merged!, ids, adapter.tokens, platform, options);
  const stored =
    merged?.tensors.tensors.get("model.layers.0.self_attn.q_proj.weight")?.stored ?? options.quantize ?? "f32";
  return judge({ adapter, bare, fused, expected, found }, stored);
}

async function onDevice({ resident: { device } }: LoadedModel, { config, tensors }: Adapter) {
  const views = new Map(
    [...tensors].map(([name, { shape, data }]) => {
      const view = tensor(device, "f32", shape);
      device.upload(view, data.slice());
      return [name, view] as const;
    }),
  );
  await device.flush();
  return { config, tensors: views };
}

async function runAlone(
  model: OpenModel,
  ids: readonly number[],
  forced: readonly number[],
  platform: Platform,
  { device: where = "auto", threads = 0 }: ExportOptions,
): Promise<Observed> {
  const device = await platform.startDevice({ device: where, threads });
  try {
    return await observe(await loadWeights(device, model), ids, undefined, forced);
  } finally {
    await device.dispose();
  }
}

interface Runs {
  readonly adapter: Observed;
  readonly bare: Observed;
  /** The merged model in fp32. */
  readonly fused: Observed;
  /** What the export should compute: the merged model with weights rounded as they are stored. */
  readonly expected: Observed;
  readonly found: Observed;
}

/** Holds the runs against each other. Throws UserError when the export is not what was meant to be written. */
function judge({ adapter, bare, fused, expected, found }: Runs, stored: string): GateResult[] {
  const number = (x: number) => x.toPrecision(3);
  const largest = worst(adapter);
  const effect = worst(adapter, bare);
  const check = (what: string, difference: number, bound: number) => {
    if (difference <= bound) return;
    throw new UserError(
      `${what}: logits differ by ${number(difference)}, at most ${number(bound)} were expected (largest logit ${number(largest)}); it was not kept`,
    );
  };
  const faithful = worst(found, expected);
  const drift = worst(found, adapter);
  const bound = (DRIFT[stored] ?? DRIFT.q4_0!) * largest;
  check("the merged model is not base + adapter", worst(fused, adapter), DRIFT.f32! * largest);
  // Less than what the adapter changes, so that an export without it cannot pass.
  const least = Math.min(1e-3 * largest, Math.max(effect / 2, 1e-5 * largest));
  check("the export does not compute what was written", faithful, least);
  check(`${stored} is too coarse for this model`, drift, bound);
  const drowned = drift > effect ? ", which is less: take a finer type" : "";
  const tokens = `merged ${agreement(fused, adapter)}, export ${agreement(found, adapter)}`;
  return [
    { gate: "greedy tokens", found: `as base + adapter: ${tokens}` },
    {
      gate: "logits",
      found: `worst difference ${number(drift)} (${stored}; bound ${number(bound)}, largest logit ${number(largest)}); the adapter changes them by up to ${number(effect)}${drowned}`,
    },
  ];
}

async function writeModelfile(
  files: Files,
  { speaker, stops }: Subject,
  output: string,
  gguf: string,
  asFile: boolean,
): Promise<string[]> {
  const path = asFile ? `${output}.Modelfile` : join(output, "Modelfile");
  await files.write(path, await modelfile(baseName(gguf), speaker.chat, speaker.tokenizer, stops));
  return asFile ? [path] : [];
}

async function sizes(files: Files, paths: readonly string[]): Promise<{ name: string; bytes: number }[]> {
  const found: { name: string; bytes: number }[] = [];
  for (const path of paths) {
    const { kind, size } = (await files.stat(path))!;
    if (kind === "file") found.push({ name: path, bytes: size });
    else
      found.push(
        ...(await sizes(
          files,
          (await files.list(path)).map((name) => join(path, name)),
        )),
      );
  }
  return found;
}

import { type GateResult, scaleGate, tiedGate, tokenGate } from "../export/gates.js";
import { modelfile } from "../export/modelfile.js";
import { removeOnnxType } from "../export/onnx.js";
import { type RunGate, runGate } from "../export/run.js";
import { namedBase, openSubject, refuseTaken, type Subject, speakerOf } from "../export/subject.js";
import { type ExportTarget, type SystemVerdict, systemsFor } from "../export/systems.js";
import { type Draft, TARGETS, type Written } from "../export/targets/index.js";
import { adapterFolder } from "../formats/adapter-folder.js";
import { baseName, type Files, folderOf, join } from "../formats/files.js";
import { isPart } from "../formats/gguf/parts.js";
import { familyOf } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import type { GgufWeightType } from "../tensor/codecs/quants-encode.js";
import { UserError } from "../tensor/index.js";
import { type ChatTemplates, sameTemplates } from "../tokenizers/files.js";
import { openModel } from "../weights/model-folder.js";
import type { TrainOptions } from "./config-schema.js";

export interface ExportOptions extends Pick<TrainOptions, "device" | "threads"> {
  /** PEFT adapter folder. */
  readonly adapter: string;
  /** Default: the model that the adapter names. */
  readonly base?: string;
  /** What is written. */
  readonly to: ExportTarget;
  /** A folder, or for the GGUF targets also a file that ends in `.gguf`. */
  readonly output: string;
  /** Default: hf keeps the base's types, gguf is f16, gguf-lora f32, onnx has a file of each type. */
  readonly quantize?: GgufWeightType;
  /** Bytes of tensors after which a GGUF's next part is begun, into a folder: as llama.cpp's --split-max-size. Default: one file. */
  readonly splitMaxSize?: number;
  /** Run adapter, merged model and export and compare them. Default true. */
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

/**
 * Exports an adapter so that another system runs it, and holds the result against the adapter before it keeps it: prompts
 * become the same ids, the effective scale survives, a tied head stays tied, and base + adapter, the merged model and the
 * export say the same. An export that fails a gate is deleted. Throws UserError then; when the adapter is of another base;
 * and when `output` holds something already.
 */
export async function exportAdapter(asked: ExportOptions, platform: Platform): Promise<ExportReport> {
  const { to, output, quantize: type } = asked;
  const { files } = platform;
  checkOptions(asked);
  const options = { ...asked, adapter: await adapterFolder(files, asked.adapter) };
  const asFile = output.endsWith(".gguf");
  const recipe = to === "gguf" ? (asFile ? `${output}.Modelfile` : join(output, "Modelfile")) : undefined;
  await refuseTaken(files, output);
  if (asFile && recipe) await refuseTaken(files, recipe);
  const base = options.base ?? (await namedBase(files, options.adapter));
  const model = await openModel(files, platform.resolveModel(base));
  try {
    const subject = await openSubject(options, model, platform);
    const path = asFile ? output.replace(/\.gguf$/, ".lowrank.unchecked.gguf") : `${output}.lowrank.unchecked`;
    const draft: Draft = { path, asFile, type, splitMaxSize: asked.splitMaxSize };
    await files.remove(path);
    await files.makeFolder(folderOf(output));
    try {
      const opened = await TARGETS[to].write(files, subject, draft);
      const { gates, leftOut } = await passGates(options, subject, draft, opened, platform);
      const final = asFile || opened === path ? output : join(output, baseName(opened));
      await files.rename(path, output);
      const inParts = to === "gguf" && isPart(final);
      if (recipe && !inParts) await writeModelfile(files, subject, recipe, final, output);
      return {
        output,
        to,
        files: await sizes(files, [output, ...(asFile && recipe ? [recipe] : [])]),
        gates,
        systems: systemsFor(to, final, model, subject.adapter, inParts),
        warnings: [...model.notes, ...subject.warnings, ...leftOut, ...unsaid(options, subject, model.tokenizer)],
      };
    } finally {
      await files.remove(path);
    }
  } finally {
    await model.close();
  }
}

/** Throws UserError for a type or an output that the target does not have. */
function checkOptions({ to, quantize, output, splitMaxSize }: ExportOptions): void {
  const { types, file } = TARGETS[to];
  if (quantize && !types.includes(quantize))
    throw new UserError(`--quantize ${quantize}: --to ${to} is written as ${types.join(", ")}`);
  if (splitMaxSize !== undefined && (to !== "gguf" || output.endsWith(".gguf")))
    throw new UserError(
      "--split-max-size is for --to gguf, and writes parts into a folder: give --output a name without .gguf",
    );
  if (splitMaxSize !== undefined && !(splitMaxSize > 0))
    throw new UserError(`--split-max-size: expected bytes above 0, got ${splitMaxSize}`);
  if (output.endsWith(".gguf") && !file)
    throw new UserError(
      `${output}: --to ${to} writes a folder; a name that ends in .gguf is for --to gguf and gguf-lora`,
    );
}

/** What the target cannot hold, though the adapter needs it. */
function unsaid({ to }: ExportOptions, { model }: Subject, base: ChatTemplates): string[] {
  const { normalizer } = model.tokenizer.tokenizerJson as { normalizer?: { type?: string } | null };
  const normalises =
    "this tokenizer normalises text (NFC) and llama.cpp does not: text with combining characters may get other tokens there";
  const { gguf } = familyOf(model.config);
  if (to === "gguf")
    return [...(normalizer?.type === "NFC" ? [normalises] : []), ...(gguf.differs?.(model.config) ?? [])];
  if (to !== "gguf-lora" || sameTemplates(model.tokenizer, base)) return [];
  return [
    "a LoRA GGUF holds no chat template, and the base's is not the one this adapter was trained with: pass it with --chat-template-file, or use --to gguf",
  ];
}

async function passGates(
  options: ExportOptions,
  subject: Subject,
  draft: Draft,
  path: string,
  platform: Platform,
): Promise<{ gates: GateResult[]; leftOut: string[] }> {
  const { to, quantize } = options;
  const written = await TARGETS[to].read(platform.files, path, subject, draft);
  try {
    const gates = [await sameIds(subject, written, platform)];
    if (written.adapter) gates.push(scaleGate(subject.adapter, written.adapter, quantize ?? "f32"));
    if (written.model) gates.push(tiedGate(subject.model, written.model));
    if (options.run === false)
      return { gates: [...gates, { gate: "same answers", found: "not run (--no-run)" }], leftOut: [] };
    const ran = await runGate(subject, written, quantize, platform, options);
    const leftOut = await leaveOut(platform.files, path, written, ran.tooCoarse, quantize !== undefined);
    return { gates: [...gates, ...ran.gates], leftOut };
  } finally {
    await written.model?.close();
  }
}

/** Of files that nobody asked for by type, those that stray too far are not kept; what was asked for fails with them. */
async function leaveOut(
  files: Files,
  path: string,
  { onnx }: Written,
  tooCoarse: RunGate["tooCoarse"],
  asked: boolean,
): Promise<string[]> {
  const said: string[] = [];
  for (const [type, why] of tooCoarse) {
    const spare = onnx?.types.find((other, i) => i > 0 && other === type);
    if (asked || !spare)
      throw new UserError(`${why}; it was not kept. Take a finer type, or keep it unchecked with --no-run`);
    await removeOnnxType(files, path, spare);
    said.push(`${why}; its file was left out`);
  }
  return said;
}

async function sameIds(subject: Subject, { tokenizer }: Written, { templates }: Platform): Promise<GateResult> {
  if (!tokenizer) return { gate: "same prompt, same ids", found: "it holds no tokenizer; the base's is used" };
  return tokenGate(subject.speaker, speakerOf(tokenizer, templates));
}

/** Writes the Modelfile of an export that has its name already, which it loses when that fails. */
async function writeModelfile(
  files: Files,
  { speaker, stops }: Subject,
  path: string,
  gguf: string,
  output: string,
): Promise<void> {
  try {
    await files.write(path, await modelfile(baseName(gguf), speaker.chat, speaker.tokenizer, stops));
  } catch (error) {
    await files.remove(output);
    throw error;
  }
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

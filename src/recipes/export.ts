import { type GateResult, scaleGate, tiedGate, tokenGate } from "../export/gates.js";
import { type RunGate, runGate } from "../export/run.js";
import { namedBase, openSubject, refuseTaken, type Subject, speakerOf } from "../export/subject.js";
import type { SystemVerdict } from "../export/systems.js";
import { EXPORT_TARGET_NAMES, type ExportTargetName, exportTarget } from "../export/targets/index.js";
import type { Draft, ExportTarget, Reopened } from "../export/targets/target.js";
import type { LogitReport } from "../export/verdict.js";
import { adapterFolder } from "../formats/adapter-folder.js";
import { baseName, type Files, folderOf, join } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import type { GgufWeightType } from "../tensor/codecs/quants-encode.js";
import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { openModel } from "../weights/model-folder.js";
import type { TrainOptions } from "./config-schema.js";

export interface ExportOptions extends Pick<TrainOptions, "device" | "threads"> {
  /** PEFT adapter folder. Default: none; then `base` is exported as it is, to a target that holds a whole model. */
  readonly adapter?: string;
  /** Default: the model that the adapter names. */
  readonly base?: string;
  /** What is written. */
  readonly to: ExportTargetName;
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
  readonly to: ExportTargetName;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  readonly gates: readonly GateResult[];
  /** By stored type, as far as it was run: how far its answers are from base + adapter's. */
  readonly logits: readonly LogitReport[];
  readonly systems: readonly SystemVerdict[];
  readonly warnings: readonly string[];
}

/**
 * Exports an adapter, or a whole model, so that another system runs it, and holds the result against it before it keeps it: prompts
 * become the same ids, the effective scale survives, a tied head stays tied, and base + adapter, the merged model and the
 * export say the same. An export that fails a gate is deleted. Throws UserError then; when the adapter is of another base;
 * and when `output` holds something already.
 */
export async function exportAdapter(asked: ExportOptions, platform: Platform): Promise<ExportReport> {
  const { files } = platform;
  checkOptions(asked);
  const target = exportTarget(asked.to);
  const asFile = isFile(asked);
  const companion = target.companion?.pathFor(asked.output, asFile);
  await refuseTaken(files, asked.output);
  if (asFile && companion !== undefined) await refuseTaken(files, companion);
  const adapter = asked.adapter === undefined ? undefined : await adapterFolder(files, asked.adapter);
  const options = { ...asked, adapter };
  const base = options.base ?? (await namedBase(files, adapter!));
  const model = await openModel(files, platform.resolveModel(base));
  try {
    const subject = await openSubject(options, model, platform);
    const { final, ...passed } = await written(options, subject, platform);
    const beside = await writeCompanion(options, subject, final, platform);
    const said = target.warnings?.(subject, model.tokenizer) ?? [];
    return {
      output: asked.output,
      to: asked.to,
      files: await sizes(files, [asked.output, ...(asFile ? beside : [])]),
      gates: passed.gates,
      logits: passed.logits,
      systems: target.systems({ path: final, base: model, adapter: subject.adapter }),
      warnings: [...model.notes, ...subject.warnings, ...passed.leftOut, ...said],
    };
  } finally {
    await model.close();
  }
}

/** Whether `output` names a single file of its target. */
const isFile = ({ to, output }: ExportOptions): boolean => {
  const { fileEnding } = exportTarget(to);
  return fileEnding !== undefined && output.endsWith(fileEnding);
};

/** Throws UserError for a type or an output that the target does not have. */
function checkOptions({ adapter, base, to, quantize, output, splitMaxSize }: ExportOptions): void {
  const { types, fileEnding, inParts, whole } = exportTarget(to);
  if (adapter === undefined && base === undefined)
    throw new UserError(`nothing to export: give ${option("adapter")}, or ${option("base")} alone for a whole model`);
  if (adapter === undefined && !whole)
    throw new UserError(
      `${option("to", to)} holds an adapter, and none was given: give ${option("adapter")}; ${base} by itself can be written with ${option(
        "to",
        namesOf((target) => target.whole),
      )}`,
    );
  if (quantize && !types.includes(quantize))
    throw new UserError(`${option("quantize", quantize)}: ${option("to", to)} is written as ${types.join(", ")}`);
  const [withParts, withFiles] = [namesOf((target) => target.inParts), namesOf((target) => target.fileEnding)];
  if (splitMaxSize !== undefined && (!inParts || output.endsWith(".gguf")))
    throw new UserError(
      `${option("splitMaxSize")} is for ${option("to", withParts)}, and writes parts into a folder: give ${option("output")} a name without .gguf`,
    );
  if (splitMaxSize !== undefined && !(splitMaxSize > 0))
    throw new UserError(`${option("splitMaxSize")}: expected bytes above 0, got ${splitMaxSize}`);
  if (output.endsWith(".gguf") && !fileEnding)
    throw new UserError(
      `${output}: ${option("to", to)} writes a folder; a name that ends in .gguf is for ${option("to", withFiles)}`,
    );
}

/** The targets that have something, in a sentence. */
const namesOf = (has: (target: ExportTarget) => unknown): string =>
  EXPORT_TARGET_NAMES.filter((name) => has(exportTarget(name))).join(" and ");

interface Passed {
  readonly gates: readonly GateResult[];
  readonly logits: readonly LogitReport[];
  /** What was taken out again, and why. */
  readonly leftOut: readonly string[];
}

/** Writes the draft, holds it against the adapter and gives it its name; `final` is what a reader opens. */
async function written(
  options: ExportOptions,
  subject: Subject,
  platform: Platform,
): Promise<Passed & { readonly final: string }> {
  const { output, quantize: type, splitMaxSize } = options;
  const { files } = platform;
  const asFile = isFile(options);
  const path = asFile ? output.replace(/(\.\w+)$/, ".lowrank.unchecked$1") : `${output}.lowrank.unchecked`;
  const draft: Draft = { path, asFile, type, splitMaxSize };
  await files.remove(path);
  await files.makeFolder(folderOf(output));
  try {
    const opened = await exportTarget(options.to).write(files, subject, draft);
    const passed = await passGates(options, subject, opened, platform);
    await files.rename(path, output);
    return { ...passed, final: asFile || opened === path ? output : join(output, baseName(opened)) };
  } finally {
    await files.remove(path);
  }
}

async function passGates(options: ExportOptions, subject: Subject, path: string, platform: Platform): Promise<Passed> {
  const { to, quantize } = options;
  const target = exportTarget(to);
  const reopened = await target.reopen(platform.files, path, subject);
  try {
    const gates = [await sameIds(subject, reopened, platform)];
    if (reopened.adapter && subject.adapter)
      gates.push(scaleGate(subject.adapter, reopened.adapter, quantize ?? "f32"));
    if (reopened.model) gates.push(tiedGate(subject.model, reopened.model));
    if (options.run === false)
      return {
        gates: [...gates, { gate: "same answers", found: `not run (${option("run", false)})` }],
        logits: [],
        leftOut: [],
      };
    const ran = await runGate(subject, target.trials(subject, reopened, quantize), platform, options);
    const leftOut = await leaveOut(options, path, ran.tooCoarse, platform.files);
    return { gates: [...gates, ...ran.gates], logits: ran.logits, leftOut };
  } finally {
    await reopened.model?.close();
  }
}

/** Of files that nobody asked for by type, those that stray too far are not kept; what was asked for fails with them. */
async function leaveOut(
  { to, quantize }: ExportOptions,
  path: string,
  tooCoarse: RunGate["tooCoarse"],
  files: Files,
): Promise<string[]> {
  const { leaveOut: take } = exportTarget(to);
  const said: string[] = [];
  for (const [trial, why] of tooCoarse) {
    if (!take || !trial.spare || quantize !== undefined)
      throw new UserError(
        `${why}; it was not kept. Take a finer type, or keep it unchecked with ${option("run", false)}`,
      );
    await take(files, path, trial);
    said.push(`${why}; its file was left out`);
  }
  return said;
}

async function sameIds(subject: Subject, { tokenizer }: Reopened, { templates }: Platform): Promise<GateResult> {
  if (!tokenizer) return { gate: "same prompt, same ids", found: "it holds no tokenizer; the base's is used" };
  return tokenGate(subject.speaker, speakerOf(tokenizer, templates));
}

/** Writes what belongs beside an export that has its name already, which it loses when that fails. Returns its path, if any. */
async function writeCompanion(
  options: ExportOptions,
  subject: Subject,
  exported: string,
  { files }: Platform,
): Promise<string[]> {
  const { companion } = exportTarget(options.to);
  if (!companion) return [];
  try {
    const text = await companion.text(subject, exported);
    if (text === undefined) return [];
    const path = companion.pathFor(options.output, isFile(options));
    await files.write(path, text);
    return [path];
  } catch (error) {
    await files.remove(options.output);
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

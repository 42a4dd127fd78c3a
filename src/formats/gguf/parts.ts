import { UserError } from "../../tensor/index.js";
import { baseName, type Files, folderOf, join, type OpenFile } from "../files.js";
import { type GgufFile, type GgufTensor, readGguf } from "./reader.js";

/** A tensor and the part that it is in. */
export interface GgufPlaced extends GgufTensor {
  readonly file: OpenFile;
}

/** A GGUF that is open: one file, or all parts of a split one as if they were one. */
export interface OpenGguf {
  readonly path: string;
  /** In their order. */
  readonly files: readonly OpenFile[];
  /** The first part's, which has it all. */
  readonly metadata: GgufFile["metadata"];
  readonly tensors: ReadonlyMap<string, GgufPlaced>;
  close(): Promise<void>;
}

/** Parts of one file that anyone has made: llama.cpp's names have five digits. */
const MOST_PARTS = 99_999;
const PART = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/;

/** The name of part `index` (from 0) of `count`, as llama.cpp's gguf-split writes it. */
export function partName(prefix: string, index: number, count: number): string {
  const digits = (n: number) => String(n).padStart(5, "0");
  return `${prefix}-${digits(index + 1)}-of-${digits(count)}.gguf`;
}

/** Whether a path is named as a part of a split file. */
export const isPart = (path: string): boolean => PART.test(baseName(path));

/** These names when they are the parts of one split file, all or some of them. */
export function partsIn(names: readonly string[]): readonly string[] | undefined {
  const sets = new Set(
    names.map((name) =>
      PART.exec(name)
        ?.filter((_, i) => i === 1 || i === 3)
        .join(" of "),
    ),
  );
  return sets.size === 1 && !sets.has(undefined) ? names : undefined;
}

/**
 * Opens a GGUF, and where it is one part of a split file (`-00001-of-00003.gguf`) the others beside it. Throws UserError for a
 * part that is missing, has another number or count than its name says, or another number of tensors in all.
 */
export async function openGgufParts(files: Files, path: string): Promise<OpenGguf> {
  const open: OpenFile[] = [];
  const close = async () => {
    for (const file of open) await file.close();
  };
  const read = async (part: string): Promise<GgufFile> => {
    const file = await files.open(part);
    open.push(file);
    return readGguf(file);
  };
  try {
    const given = await read(path);
    const count = partCount(given, path);
    if (count <= 1) return { path, files: open, close, metadata: given.metadata, tensors: placed([given], open) };
    const parts = await partPaths(files, path, count);
    await open.pop()!.close();
    const all: GgufFile[] = [];
    for (const [index, part] of parts.entries()) {
      const gguf = await read(part);
      checkPart(gguf, part, index, count);
      all.push(gguf);
    }
    const tensors = placed(all, open);
    const said = all[0]!.metadata.get("split.tensors.count") ?? tensors.size;
    if (said !== tensors.size)
      throw new UserError(`${parts[0]}: split.tensors.count is ${said}, the ${count} parts hold ${tensors.size}`, {
        code: "invalid_file",
      });
    return { path, files: open, close, metadata: all[0]!.metadata, tensors };
  } catch (error) {
    await close();
    throw error;
  }
}

function partCount({ metadata }: GgufFile, path: string): number {
  const count = metadata.get("split.count") ?? 1;
  if (typeof count === "number" && Number.isInteger(count) && count >= 0 && count <= MOST_PARTS) return count;
  throw new UserError(`${path}: split.count must be a number of parts up to ${MOST_PARTS}, got ${count}`, {
    code: "invalid_file",
  });
}

/** The paths of all parts of the split file that `path` is one of. */
async function partPaths(files: Files, path: string, count: number): Promise<string[]> {
  const name = baseName(path);
  const [, prefix, , named] = PART.exec(name) ?? [];
  if (prefix === undefined || Number(named) !== count) {
    const like = partName("NAME", 0, count);
    throw new UserError(`${path}: it is one of ${count} parts of a split file, so its name should be like ${like}`, {
      code: "invalid_file",
    });
  }
  const folder = path.slice(0, path.length - name.length) === "" ? "" : folderOf(path);
  const parts = Array.from({ length: count }, (_, index) => join(folder, partName(prefix, index, count)));
  for (const part of parts) {
    if ((await files.stat(part))?.kind === "file") continue;
    throw new UserError(`${part}: this part of a split GGUF is missing; all ${count} parts must lie in one folder`, {
      code: "invalid_file",
    });
  }
  return parts;
}

function checkPart({ metadata }: GgufFile, path: string, index: number, count: number): void {
  for (const [key, expected] of [
    ["split.count", count],
    ["split.no", index],
  ] as const) {
    const came = metadata.get(key);
    if (came === expected) continue;
    const what = came === undefined ? "is missing" : `is ${came}`;
    throw new UserError(
      `${path}: ${key} ${what}, by its name it should be ${expected}; is it a part of another file?`,
      { code: "invalid_file" },
    );
  }
}

function placed(parts: readonly GgufFile[], files: readonly OpenFile[]): Map<string, GgufPlaced> {
  const tensors = new Map<string, GgufPlaced>();
  for (const [i, part] of parts.entries()) {
    for (const tensor of part.tensors.values()) {
      const { name } = tensor;
      const other = tensors.get(name);
      if (other)
        throw new UserError(`${files[i]!.path}: tensor ${JSON.stringify(name)} is in ${other.file.path} too`, {
          code: "invalid_file",
        });
      tensors.set(name, { ...tensor, file: files[i]! });
    }
  }
  return tensors;
}

import { z } from "zod";
import type { RowKind } from "../../data/row.js";
import { type Content, type Files, join, writeFolder } from "../../formats/files.js";
import { jsonBytes, readObject } from "../../formats/json.js";
import { readChunks } from "../../platform/platform.js";
import { ApiError } from "../errors.js";
import type { ServerLimits } from "../limits.js";
import { readMultipart, textOf } from "../multipart.js";
import { checkRows } from "./check-rows.js";
import type { StoreOptions } from "./jobs.js";
import type { FileObject, UploadPurpose } from "./wire.js";

/** A file that was uploaded, or made by a job or batch, and the training rows in it. */
export interface StoredFile {
  readonly object: FileObject;
  readonly rows: number;
  /** What its rows give to learn from. Default, as in files of earlier versions: "texts". */
  readonly kind?: RowKind;
}

/** Files in a folder, each in a folder of its own that is whole or not there. */
export interface FileStore {
  /** Newest first. */
  list(): FileObject[];
  /** Throws ApiError 404. */
  get(id: string): StoredFile;
  /** Where a file's bytes are. */
  path(id: string): string;
  /** Takes an upload, training rows checked. Throws ApiError naming what is wrong, and the line; then nothing is kept. */
  upload(request: Request, limits: UploadLimits): Promise<FileObject>;
  /** Keeps what a job or a batch made. */
  add(filename: string, content: Content, purpose: FileObject["purpose"]): Promise<FileObject>;
  remove(id: string): Promise<void>;
}

type UploadLimits = Pick<ServerLimits, "uploadBytes" | "rowBytes" | "messages">;

const CONTENT = "content";
const ABOUT = "file.json";

/** The name of a file's folder, or of one whose writing was cut short. */
export const FILE_NAME = /^file-[0-9a-z]{16,}((?:\.lowrank)?\.(?:partial|replaced))?$/;

/** Opens a folder of files, empty or as it was left. */
export async function openFileStore(folder: string, { files, newId, now, onNote }: StoreOptions): Promise<FileStore> {
  await files.makeFolder(folder);
  const stored = await readStored(files, folder, onNote);
  const get = (id: string): StoredFile => {
    const found = stored.get(id);
    if (found) return found;
    throw new ApiError(404, `there is no file '${id.slice(0, 100)}'`, { code: "file_not_found" });
  };
  /** Writes the bytes and what is known of them once they are there. */
  const keep = async (
    fill: (content: string) => Promise<Pick<FileObject, "filename" | "purpose"> & Omit<StoredFile, "object">>,
  ): Promise<FileObject> => {
    const id = newId("file");
    let file: StoredFile | undefined;
    await writeFolder(files, join(folder, id), async (partial) => {
      const path = join(partial, CONTENT);
      const { rows, kind = "texts", ...about } = await fill(path);
      const { size } = (await files.stat(path))!;
      const created_at = Math.floor(now() / 1000);
      file = { object: { id, object: "file", bytes: size, created_at, ...about, status: "processed" }, rows, kind };
      await files.write(join(partial, ABOUT), jsonBytes(file));
    });
    stored.set(id, file!);
    return file!.object;
  };
  return {
    list: () => [...stored.values()].map(({ object }) => object).sort((a, b) => (a.id < b.id ? 1 : -1)),
    get,
    path: (id) => join(folder, get(id).object.id, CONTENT),
    upload: (request, limits) =>
      keep(async (path) => {
        const about = await receive(files, request, limits.uploadBytes, path);
        if (about.purpose === "batch") return { ...about, rows: 0 }; // read when a batch begins
        return { ...about, ...(await checkRows(readChunks(files, path), about.filename, limits)) };
      }),
    add: (filename, content, purpose) =>
      keep(async (path) => {
        await files.write(path, content);
        return { filename, purpose, rows: 0 };
      }),
    async remove(id) {
      get(id);
      stored.delete(id);
      await files.remove(join(folder, id));
    },
  };
}

/** The files of a folder; what a killed write left is removed, anything else that is none is left alone. */
async function readStored(
  files: Files,
  folder: string,
  onNote: (message: string) => void,
): Promise<Map<string, StoredFile>> {
  const stored = new Map<string, StoredFile>();
  for (const name of await files.list(folder)) {
    const path = join(folder, name);
    const [, cut] = FILE_NAME.exec(name) ?? [undefined, "foreign"];
    if (cut === undefined) {
      const about = await readObject(files, join(path, ABOUT)).catch(() => undefined);
      if (storedFile(name).safeParse(about).success) stored.set(name, about as unknown as StoredFile);
      else onNote(`${path}: left as it is: its ${ABOUT} cannot be read`);
    } else if (cut === "foreign") onNote(`${path}: left as it is: it is none of the server's`);
    else await files.remove(path);
  }
  return stored;
}

/** What has to be right of a file's record; it is used as it was written. */
const storedFile = (id: string) =>
  z.looseObject({
    object: z.looseObject({ id: z.literal(id), filename: z.string(), bytes: z.int() }),
    rows: z.int(),
  });

/** Writes the form's file to `path` as it comes. Returns its name, and what it is for. */
async function receive(
  files: Files,
  request: Request,
  most: number,
  path: string,
): Promise<{ readonly filename: string; readonly purpose: UploadPurpose }> {
  let filename: string | undefined;
  let purpose: string | undefined;
  for await (const part of readMultipart(request, most)) {
    if (part.name === "file" && part.filename !== undefined && filename === undefined) {
      filename = [...part.filename.replace(/^.*[/\\]|\p{Cc}/gu, "")].slice(0, 200).join("") || "file";
      await files.write(path, part.content);
    } else if (part.name === "purpose" && purpose === undefined) purpose = await textOf(part.content, 100);
    else throw new ApiError(400, `'${part.name.slice(0, 100)}' is not supported here, or given twice`);
  }
  if (filename === undefined) throw new ApiError(400, "file: the form holds no file", { param: "file" });
  if (purpose === "fine-tune" || purpose === "batch") return { filename, purpose };
  throw new ApiError(400, `purpose: expected 'fine-tune' or 'batch', got '${purpose ?? ""}'`, { param: "purpose" });
}

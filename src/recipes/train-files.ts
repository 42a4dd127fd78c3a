import { z } from "zod";
import { type Columns, unknownField } from "../data/columns.js";
import { formatNames } from "../data/formats/index.js";
import { someWeighed } from "../data/mixture.js";

/** Which column of a file is which field of a row. */
export const columnsSchema = z
  .record(z.string().min(1), z.string().min(1))
  .refine((columns) => unknownField(columns, "auto") === undefined, {
    error: ({ input }) => unknownField(input as Columns, "auto")!,
  })
  .meta({ by: "field" });

export const formatSchema = z.enum(["auto", ...formatNames]);

/** A file among several, with what of `data` is another's for it. */
const fileSchema = z.strictObject({
  path: z.string().min(1),
  weight: z.number().positive().optional(),
  format: formatSchema.optional(),
  columns: columnsSchema.optional(),
});

/** The keys of a file among several. */
export const fileKeys = Object.keys(fileSchema.shape);

/** One file, or several, which may be mixed by weight. */
export const trainFilesSchema = z.union([z.string().min(1), z.array(z.union([z.string().min(1), fileSchema])).min(1)]);

export type TrainFiles = z.output<typeof trainFilesSchema>;
export type TrainFile = z.output<typeof fileSchema>;

/** What is wrong with files that are right each by itself: weights for some of them, columns that their format does not read. */
export function wrongFiles(
  train: TrainFiles,
  format: z.output<typeof formatSchema>,
  columns: Columns,
): { readonly path: string[]; readonly message: string }[] {
  const files = filesOf(train);
  const weights = someWeighed(files);
  const fields = files.flatMap((file) => {
    const unknown = unknownField(file.columns ?? columns, file.format ?? format);
    return unknown === undefined ? [] : [{ path: [file.columns ? "train" : "columns"], message: unknown }];
  });
  return [...(weights === undefined ? [] : [{ path: ["train"], message: weights }]), ...fields.slice(0, 1)];
}

/** The files of `data.train`, in their order. */
export function filesOf(train: TrainFiles): TrainFile[] {
  return [train].flat().map((file) => (typeof file === "string" ? { path: file } : file));
}

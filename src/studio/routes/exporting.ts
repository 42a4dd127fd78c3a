import { z } from "zod";
import { EXPORT_TARGET_NAMES, exportTarget } from "../../export/targets/index.js";
import { adapterFolder } from "../../formats/adapter-folder.js";
import { join } from "../../formats/files.js";
import { readAdapter } from "../../formats/peft/adapter.js";
import { exportAdapter } from "../../recipes/export.js";
import { blockBytes, codecOf } from "../../tensor/codecs/quants.js";
import { GGUF_WEIGHT_TYPES } from "../../tensor/codecs/quants-encode.js";
import { sizeOf } from "../../tensor/index.js";
import { openModel } from "../../weights/model-folder.js";
import { call } from "../route.js";
import { freePath } from "../runs.js";
import { EXPORTS } from "../stored.js";

const of = {
  base: z.string("expected a path or owner/name").min(1),
  adapter: z.string("expected an adapter's folder").min(1),
};

export const targets = call({
  summary: "the forms in which an adapter leaves: what each is, about how large it becomes, and what will load it",
  request: z.strictObject(of),
  async answer({ platform: { files, resolveModel } }, { base, adapter: given }) {
    const folder = await adapterFolder(files, given);
    const model = await openModel(files, resolveModel(base));
    try {
      const adapter = await readAdapter(files, folder, model.config);
      const numbers = [...adapter.tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
      const weights = [...model.tensors.tensors.values()];
      return {
        targets: EXPORT_TARGET_NAMES.map((name) => {
          const { summary, types, usually, whole, systems } = exportTarget(name);
          return {
            name,
            summary,
            types: types.map((type) => ({
              type,
              bytes: whole ? bytesOf(weights, type) : bytesOf([{ shape: [numbers] }], type),
            })),
            usually,
            systems: systems({ path: name, base: model, adapter }).map(({ system, loads }) => ({ system, loads })),
          };
        }),
      };
    } finally {
      await model.close();
    }
  },
});

/** Bytes of tensors in a type; what is no matrix stays in f32. */
function bytesOf(tensors: readonly { readonly shape: readonly number[] }[], type: string): number {
  const [codec, f32] = [codecOf(type), codecOf("f32")!];
  return tensors.reduce((sum, { shape }) => {
    const count = sizeOf(shape);
    return sum + blockBytes(codec && (shape.length > 1 || type === "f32" || tensors.length === 1) ? codec : f32, count);
  }, 0);
}

export const exporting = call({
  summary: "exports an adapter into the studio's folder, held against the original before it is kept",
  request: z.strictObject({
    ...of,
    to: z.enum(EXPORT_TARGET_NAMES, `expected one of ${EXPORT_TARGET_NAMES.join(", ")}`),
    quantize: z.enum(GGUF_WEIGHT_TYPES, `expected one of ${GGUF_WEIGHT_TYPES.join(", ")}`).optional(),
    name: z.string("expected a text").regex(/^[\w][\w.-]{0,80}$/, "expected letters, digits, '_', '.' and '-'"),
  }),
  async answer({ platform, host }, { name, ...asked }) {
    const { files } = platform;
    const ending = exportTarget(asked.to).fileEnding ?? "";
    const output = await freePath(files, join(host.folder, EXPORTS, `${name}${ending}`));
    await files.makeFolder(join(host.folder, EXPORTS));
    const report = await exportAdapter({ ...asked, output }, platform);
    const { gates, systems, warnings } = report;
    return { output: report.output, files: report.files, gates, systems, warnings };
  },
});

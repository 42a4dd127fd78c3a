import { nodeFiles } from "../node/files.js";
import { resolvePath } from "../node/paths.js";
import { inspectionTitle, inspect as inspectPath } from "../recipes/inspect.js";
import { snakeKeys } from "../recipes/names.js";
import { type Action, EXIT } from "./io.js";
import { inert } from "./preview-text.js";
import { sizeText } from "./progress.js";

/** Tensors shown to people; --json has all. */
const SHOWN = 12;

export const inspect: Action = async ([path], options, io) => {
  const found = await inspectPath(path!, { files: nodeFiles, resolvePath });
  if (options.json) {
    io.out(`${JSON.stringify(snakeKeys(found))}\n`);
    return EXIT.ok;
  }
  const types = Object.entries(found.stored).map(([type, count]) => `${type} ${count.toLocaleString("en-US")}`);
  const details = Object.entries(found.details)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `  ${key}: ${short(value)}`);
  const tensors = found.tensors.slice(0, SHOWN).map(({ name, shape, stored }) => `  ${name} [${shape}] ${stored}`);
  const more = found.tensors.length - tensors.length;
  const lines = [
    inspectionTitle(found),
    `${found.parameters.toLocaleString("en-US")} parameters, ${sizeText(found.bytes)} (${types.join(", ")})`,
    ...details,
    ...found.notes.map((note) => `note: ${note}`),
    `${found.tensors.length} tensors:`,
    ...tensors,
    ...(more > 0 ? [`  and ${more} more (--json lists all)`] : []),
  ];
  io.out(`${lines.map(inert).join("\n")}\n`);
  return EXIT.ok;
};

function short(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 97)}...` : text;
}

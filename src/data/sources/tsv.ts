import { readDelimited } from "./delimited.js";
import type { RowSource } from "./source.js";

export const tsv: RowSource = {
  title: "TSV",
  endings: [".tsv"],
  read: (chunks, name, options) => readDelimited(chunks, name, { ...options, delimiter: "\t" }),
};

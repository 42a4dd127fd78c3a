import { readDelimited } from "./delimited.js";
import type { RowSource } from "./source.js";

export const csv: RowSource = {
  title: "CSV",
  endings: [".csv"],
  read: (chunks, name, options) => readDelimited(chunks, name, { ...options, delimiter: "," }),
};

import { snakeCase } from "../recipes/names.js";
import { phrased } from "../tensor/option.js";

/** A message with its options as the command line has them: `--to gguf`, `--no-run`, and a config's keys as `data.max_seq_len`. */
export function inFlags(message: string): string {
  return phrased(message, (name, value) => {
    if (name.includes(".")) return [name.split(".").map(snakeCase).join("."), ...(value ? [value] : [])].join("=");
    const flag = snakeCase(name).replaceAll("_", "-");
    if (value === "false") return `--no-${flag}`;
    return value === undefined || value === "true" ? `--${flag}` : `--${flag} ${value}`;
  });
}

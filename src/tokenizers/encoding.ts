/** Token ids and the characters (UTF-16 code units) [start, end) of the text each covers; -1 for tokens not in it. */
export interface Encoding {
  readonly ids: readonly number[];
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

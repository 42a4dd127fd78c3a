const known = new Map<string, ReadonlySet<string>>();

/** The words of a template's source: a field that is not among them is not read by its name. */
export function templateWords(source: string): ReadonlySet<string> {
  let words = known.get(source);
  if (!words) {
    known.clear(); // one at a time: a run has one template
    known.set(source, (words = new Set(source.match(/[\p{L}\p{N}_]+/gu))));
  }
  return words;
}

/**
 * A row of traps.js or faults.js: what is proven, the test that proves it, and a mutant, a change of one file with
 * which that test must fail.
 * @typedef {{ file: string, title: string }} Proof
 * @typedef {{ file: string, from: string, to: string }} Mutant
 * @typedef {{ name: string, proof: Proof, mutant: Mutant }} Row
 */

/**
 * @param {string} name of the trap or fault
 * @param {[file: string, title: string]} proof a test file and how the title of the test begins
 * @param {[file: string, from: string, to: string]} mutant source file, a text in it once, and another
 * @returns {Row}
 */
export function row(name, [file, title], [source, from, to], ...more) {
  if (more.length > 0) throw new Error(`the row '${name}' runs into the next one`);
  return { name, proof: { file, title }, mutant: { file: source, from, to } };
}

/**
 * Matches the titles of a test as they are reported: `%s` and `${...}` stand for anything.
 * @param {string} title
 */
export function titlePattern(title) {
  const escaped = title.replace(/[.*+?^$(){}|[\]\\]/g, "\\$&");
  return new RegExp(escaped.replace(/%[a-z]|\\\$\\\{[^}]*\\\}/g, ".*"));
}

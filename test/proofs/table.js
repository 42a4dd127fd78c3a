/**
 * A row of traps.js or faults.js: what is proven, the test that proves it, and a mutant, a change of one file with which that
 * test must fail.
 * @typedef {{ name: string, proof: { file: string, title: string }, mutant: { file: string, from: string, to: string } }} Row
 */

/**
 * @param {string} name of the trap or fault
 * @param {[file: string, title: string]} proof a test file and how the title of the test begins
 * @param {[file: string, from: string, to: string]} mutant a source file, a text that is in it once, and what comes in its place
 * @returns {Row}
 */
export function row(name, [file, title], [source, from, to]) {
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

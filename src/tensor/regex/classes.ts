/** Does a character class hold this code point? */
export type CodeTest = (code: number) => boolean;

/** Remembers what a test said of each code point of the basic plane: most texts ask for the same few. */
export function remembered(test: CodeTest): CodeTest {
  let known: Uint8Array | undefined;
  return (code) => {
    if (code > 0xffff) return test(code);
    known ??= new Uint8Array(0x10000);
    const said = known[code]!;
    if (said !== 0) return said === 1;
    const holds = test(code);
    known[code] = holds ? 1 : 2;
    return holds;
  };
}

export const either =
  (tests: readonly CodeTest[]): CodeTest =>
  (code) =>
    tests.some((test) => test(code));

export const both =
  (tests: readonly CodeTest[]): CodeTest =>
  (code) =>
    tests.every((test) => test(code));

export const not =
  (test: CodeTest): CodeTest =>
  (code) =>
    !test(code);

export const between =
  (low: number, high: number): CodeTest =>
  (code) =>
    code >= low && code <= high;

/** A class that JavaScript can write, as `\p{L}`. */
function unicode(source: string): CodeTest {
  const regex = new RegExp(`^${source}$`, "u");
  return remembered((code) => regex.test(String.fromCodePoint(code)));
}

/** What `\d`, `\w` and `\s` mean: Oniguruma counts the superscripts and fractions of Latin-1 among the letters of words. */
export const SHORTHANDS = {
  oniguruma: {
    d: unicode("\\p{Nd}"),
    w: unicode("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00b2\\u00b3\\u00b9\\u00bc-\\u00be]"),
    s: unicode("\\p{White_Space}"),
    h: unicode("[0-9A-Fa-f]"),
  },
  python: {
    d: unicode("\\p{Nd}"),
    w: unicode("[\\p{L}\\p{N}_]"),
    s: unicode("[\\p{White_Space}\\u001c-\\u001f]"),
  },
} as const satisfies Record<string, Readonly<Record<string, CodeTest>>>;

const POSIX: Readonly<Record<string, string>> = {
  alpha: "\\p{Alphabetic}",
  digit: "\\p{Nd}",
  alnum: "[\\p{Alphabetic}\\p{Nd}]",
  upper: "\\p{Uppercase}",
  lower: "\\p{Lowercase}",
  space: "\\p{White_Space}",
  cntrl: "\\p{Cc}",
  xdigit: "[0-9A-Fa-f]",
};

/** `\p{NAME}`: a general category, a script, or a POSIX name; undefined for one that is not known. */
export function property(name: string): CodeTest | undefined {
  const posix = Object.hasOwn(POSIX, name.toLowerCase()) ? POSIX[name.toLowerCase()] : undefined;
  for (const source of [posix, `\\p{${name}}`, `\\p{Script=${name}}`]) {
    try {
      if (source !== undefined && /^[\w\\{}=[\]-]+$/.test(source)) return unicode(source);
    } catch {
      // Not a name that JavaScript has: the next spelling is tried.
    }
  }
  return undefined;
}

/** The class `[:NAME:]` of a bracket expression. */
export function posixClass(name: string): CodeTest | undefined {
  return Object.hasOwn(POSIX, name) ? unicode(POSIX[name]!) : undefined;
}

/** An ASCII character in both cases, with what Unicode folds to it: U+017F to s, U+212A to k. Undefined beyond ASCII. */
export function inBothCases(code: number): CodeTest | undefined {
  if (code > 0x7f) return undefined;
  const letter = String.fromCharCode(code);
  const cases = new Set([letter.toLowerCase(), letter.toUpperCase()].map((c) => c.charCodeAt(0)));
  if (cases.has(0x73)) cases.add(0x17f);
  if (cases.has(0x6b)) cases.add(0x212a);
  return (other) => cases.has(other);
}

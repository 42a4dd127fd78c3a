import { spendText, Unsupported } from "./work.js";

const months = "January February March April May June July August September October November December".split(" ");
const days = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

const dayMs = 86_400_000;

const dayOfYear = (date: Date): number =>
  Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / dayMs) + 1;

/** Weeks of the year before this day, when weeks begin on the given day; 0 before the first. */
const weekOfYear = (date: Date, begins: number): number =>
  Math.floor((dayOfYear(date) + 6 - ((date.getUTCDay() - begins + 7) % 7)) / 7);

/** ISO 8601's week and the year that it belongs to. */
function isoWeek(date: Date): { year: number; week: number } {
  const thursday = new Date(date.getTime() + (4 - (date.getUTCDay() || 7)) * dayMs);
  return { year: thursday.getUTCFullYear(), week: Math.floor((dayOfYear(thursday) - 1) / 7) + 1 };
}

/** A number, how wide it is and what fills it up. */
const number = (value: number, width: number, fill = "0") => ({ value, width, fill });

const hour12 = (date: Date): number => date.getUTCHours() % 12 || 12;

/** What each letter after % stands for: a text, a number, or another format. */
const fields: Readonly<Record<string, (date: Date) => string | ReturnType<typeof number>>> = {
  a: (date) => days[date.getUTCDay()]!.slice(0, 3),
  A: (date) => days[date.getUTCDay()]!,
  b: (date) => months[date.getUTCMonth()]!.slice(0, 3),
  B: (date) => months[date.getUTCMonth()]!,
  c: (date) => strftime(date, "%a %b %e %H:%M:%S %Y"),
  C: (date) => number(Math.floor(date.getUTCFullYear() / 100), 2),
  d: (date) => number(date.getUTCDate(), 2),
  D: (date) => strftime(date, "%m/%d/%y"),
  e: (date) => number(date.getUTCDate(), 2, " "),
  f: (date) => String(date.getUTCMilliseconds() * 1000).padStart(6, "0"),
  F: (date) => strftime(date, "%Y-%m-%d"),
  G: (date) => number(isoWeek(date).year, 4),
  h: (date) => months[date.getUTCMonth()]!.slice(0, 3),
  H: (date) => number(date.getUTCHours(), 2),
  I: (date) => number(hour12(date), 2),
  j: (date) => number(dayOfYear(date), 3),
  k: (date) => number(date.getUTCHours(), 2, " "),
  l: (date) => number(hour12(date), 2, " "),
  m: (date) => number(date.getUTCMonth() + 1, 2),
  M: (date) => number(date.getUTCMinutes(), 2),
  n: () => "\n",
  p: (date) => (date.getUTCHours() < 12 ? "AM" : "PM"),
  P: (date) => (date.getUTCHours() < 12 ? "am" : "pm"),
  r: (date) => strftime(date, "%I:%M:%S %p"),
  R: (date) => strftime(date, "%H:%M"),
  S: (date) => number(date.getUTCSeconds(), 2),
  t: () => "\t",
  T: (date) => strftime(date, "%H:%M:%S"),
  u: (date) => number(date.getUTCDay() || 7, 1),
  U: (date) => number(weekOfYear(date, 0), 2),
  V: (date) => number(isoWeek(date).week, 2),
  w: (date) => number(date.getUTCDay(), 1),
  W: (date) => number(weekOfYear(date, 1), 2),
  x: (date) => strftime(date, "%m/%d/%y"),
  X: (date) => strftime(date, "%H:%M:%S"),
  y: (date) => number(date.getUTCFullYear() % 100, 2),
  Y: (date) => number(date.getUTCFullYear(), 1),
  z: () => "",
  Z: () => "",
  "%": () => "%",
};

/**
 * Python's `strftime` of a time without a zone, in the C locale, with glibc's flags for numbers (`%-d`, `%_d`). Throws
 * Unsupported for a letter it does not know.
 */
export function strftime(date: Date, format: string): string {
  let length = format.length;
  const text = format.replace(/%([-_0^]?)(.?)/gsu, (whole, flag: string, letter: string) => {
    const field = Object.hasOwn(fields, letter) ? fields[letter]!(date) : undefined;
    if (field === undefined || flag === "^") throw new Unsupported(`'${whole}' in strftime_now`);
    length += 24;
    if (length > 1 << 24) spendText(length);
    if (typeof field === "string") return field;
    const fill = { "-": "", _: " ", "0": "0" }[flag] ?? field.fill;
    return fill === "" ? String(field.value) : String(field.value).padStart(field.width, fill);
  });
  spendText(text.length);
  return text;
}

import { floatOf, intOf, isFloat, isInt, numberOf } from "./values.js";
import { spend, TemplateError, Unsupported } from "./work.js";

/** Most digits of an integer that Python would write or read. */
const mostDigits = 4300;

/** A finite float as `mantissa * 2 ** exponent`, exactly; the mantissa is not negative. */
function parts(value: number): { mantissa: bigint; exponent: number } {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(value));
  const bits = view.getBigUint64(0);
  const power = Number(bits >> 52n);
  const fraction = bits & 0xfffffffffffffn;
  return power === 0
    ? { mantissa: fraction, exponent: -1074 }
    : { mantissa: fraction | 0x10000000000000n, exponent: power - 1075 };
}

/** `|value| * 10 ** digits`, rounded to an integer: exactly, and half to even, as Python rounds. */
function scaled(value: number, digits: number): bigint {
  const { mantissa, exponent } = parts(value);
  let [top, bottom] = [mantissa, 1n];
  if (digits >= 0) top *= 10n ** BigInt(digits);
  else bottom *= 10n ** BigInt(-digits);
  if (exponent >= 0) top <<= BigInt(exponent);
  else bottom <<= BigInt(-exponent);
  const whole = top / bottom;
  const twice = (top - whole * bottom) * 2n;
  const up = twice > bottom || (twice === bottom && whole % 2n === 1n);
  return up ? whole + 1n : whole;
}

/** Digits of a finite float's absolute value with so many after the point. */
export function fixed(value: number, digits: number): string {
  spend(digits + 400);
  const text = scaled(value, digits)
    .toString()
    .padStart(digits + 1, "0");
  return digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** Significant digits of a finite float's absolute value and the exponent of the first. */
export function scientific(value: number, digits: number): { digits: string; power: number } {
  spend(digits + 400);
  if (value === 0) return { digits: "0".repeat(digits + 1), power: 0 };
  let power = Number(value.toExponential(0).split("e")[1]);
  let text = scaled(value, digits - power).toString();
  if (text.length > digits + 1) text = scaled(value, digits - ++power).toString();
  else if (text.length < digits + 1) text = scaled(value, digits - --power).toString();
  return { digits: text, power };
}

/** Python's `round(value, digits)`. */
export function round(value: unknown, digits: number): unknown {
  if (isInt(value)) {
    if (digits >= 0) return Number(value) === value || typeof value === "bigint" ? value : Number(value);
    return roundInt(BigInt(value), -digits);
  }
  if (!isFloat(value)) throw new TemplateError("a number is expected");
  const number = numberOf(value);
  if (!Number.isFinite(number) || digits > 400) return value;
  const sign = number < 0 || Object.is(number, -0) ? "-" : "";
  const text = digits >= 0 ? fixed(number, digits) : `${scaled(number, digits)}e${-digits}`;
  return floatOf(Number(sign + text));
}

function roundInt(value: bigint, zeros: number): number | bigint {
  if (zeros > mostDigits) return 0;
  const unit = 10n ** BigInt(zeros);
  const rest = ((value % unit) + unit) % unit;
  const down = value - rest;
  const up = rest * 2n > unit || (rest * 2n === unit && (down / unit) % 2n !== 0n);
  return intOf(up ? down + unit : down);
}

/** An integer operation, in numbers while that is exact. */
export function exact(
  a: number | bigint | boolean,
  b: number | bigint | boolean,
  quick: (a: number, b: number) => number,
  slow: (a: bigint, b: bigint) => bigint,
): number | bigint {
  if (typeof a !== "bigint" && typeof b !== "bigint") {
    const result = quick(Number(a), Number(b));
    if (Number.isSafeInteger(result)) return result + 0;
  }
  const result = slow(bigintOf(a), bigintOf(b));
  const bits = result.toString(16).length * 4;
  spend(bits);
  if (bits > 1 << 16) throw new TemplateError("an integer of more than 65536 bits");
  return intOf(result);
}

export const bigintOf = (value: number | bigint | boolean): bigint => BigInt(value);

const integers: Record<number, RegExp> = {
  2: /^[-+]?(0b_?)?[01]+(_[01]+)*$/i,
  8: /^[-+]?(0o_?)?[0-7]+(_[0-7]+)*$/i,
  10: /^[-+]?\d+(_\d+)*$/,
  16: /^[-+]?(0x_?)?[\da-f]+(_[\da-f]+)*$/i,
};

/** Python reads digits of every script, which is refused here. */
function refuseOtherDigits(text: string): void {
  if (/[^0-9\P{Nd}]/u.test(text)) throw new Unsupported("digits other than 0 to 9 in a number");
}

/** Python's `int(text, base)`; undefined when it is none. Bases are 2, 8, 10 and 16. */
export function readInt(text: string, base: number): number | bigint | undefined {
  spend(text.length);
  refuseOtherDigits(text);
  const bare = text.replaceAll("_", "");
  if (!integers[base]!.test(text)) return undefined;
  if (bare.length > mostDigits) throw new TemplateError(`an integer of more than ${mostDigits} digits`);
  const digits = bare.replace(/^[-+]/, "").replace(/^0[box]/i, "");
  const prefix = { 2: "0b", 8: "0o", 10: "", 16: "0x" }[base]!;
  const value = BigInt(prefix + digits);
  return intOf(bare.startsWith("-") ? -value : value);
}

/** Python's `float(text)`; undefined when it is none. */
export function readFloat(text: string): number | undefined {
  spend(text.length);
  refuseOtherDigits(text);
  const word = /^([-+]?)(inf|infinity|nan)$/i.exec(text);
  if (word) return word[2]![0]!.toLowerCase() === "n" ? Number.NaN : word[1] === "-" ? -Infinity : Infinity;
  if (!/^[-+]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[-+]?\d+(_\d+)*)?$/i.test(text)) return undefined;
  return Number(text.replaceAll("_", ""));
}

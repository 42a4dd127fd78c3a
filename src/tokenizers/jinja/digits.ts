import { fixed, scientific } from "./numbers.js";
import { pad } from "./text.js";
import { characters } from "./values.js";
import { TemplateError } from "./work.js";

/** How a value is written into a field of a format. */
export interface Spec {
  readonly fill: string;
  readonly align: "<" | ">" | "=" | "^" | undefined;
  readonly sign: "+" | "-" | " ";
  readonly alternate: boolean;
  readonly width: number;
  readonly grouping: "," | "_" | "";
  readonly precision: number | undefined;
  readonly type: string;
}

/** Digits of a number with its sign kept apart. */
export interface Digits {
  readonly negative: boolean;
  readonly prefix: string;
  readonly whole: string;
  readonly rest: string;
}

/** Widest field and longest precision. */
const widest = 1 << 16;

export function size(digits: string | undefined): number | undefined {
  if (digits === undefined || digits === "") return undefined;
  const value = Number(digits);
  if (value > widest) throw new TemplateError(`a format with a width or precision of more than ${widest}`);
  return value;
}

export function intDigits(value: bigint, { type, alternate }: Spec): Digits {
  const bases: Record<string, [radix: number, prefix: string]> = {
    b: [2, "0b"],
    o: [8, "0o"],
    x: [16, "0x"],
    X: [16, "0X"],
    d: [10, ""],
  };
  const [radix, prefix] = bases[type]!;
  const digits = (value < 0n ? -value : value).toString(radix);
  const whole = type === "X" ? digits.toUpperCase() : digits;
  return { negative: value < 0n, prefix: alternate ? prefix : "", whole, rest: "" };
}

/** Digits of a float by `e`, `f`, `g` or `%`, with the precision given. */
export function floatDigits(value: number, { type, precision = 6, alternate }: Spec): Digits {
  const negative = value < 0 || Object.is(value, -0);
  const upper = type === "E" || type === "F" || type === "G";
  const done = (text: string): Digits => {
    const cased = upper ? text.toUpperCase() : text;
    const [, whole, rest] = /^(\d*|[a-zA-Z]+)(.*)$/s.exec(cased)!;
    return { negative, prefix: "", whole: whole!, rest: rest! };
  };
  if (Number.isNaN(value)) return { ...done("nan"), negative: false };
  if (!Number.isFinite(value)) return done(type === "%" ? "inf%" : "inf");
  const kind = type.toLowerCase();
  if (kind === "f") return done(fixed(value, precision) + (alternate && precision === 0 ? "." : ""));
  if (kind === "%") return done(`${fixed(value * 100, precision)}%`);
  if (kind === "e") return done(exponential(value, precision, alternate));
  return done(general(value, Math.max(1, precision), alternate, kind === "g" ? undefined : 1));
}

function exponential(value: number, precision: number, alternate: boolean): string {
  const { digits, power } = scientific(value, precision);
  const point = precision > 0 || alternate ? "." : "";
  return `${digits[0]}${point}${digits.slice(1)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** `g`: fixed or with an exponent, without zeros at the end; `least` decimals are kept where it is fixed. */
function general(value: number, precision: number, alternate: boolean, least: number | undefined): string {
  const { digits, power } = scientific(value, precision - 1);
  const bare = alternate ? digits : digits.replace(/0+$/, "") || "0";
  const limit = least === undefined ? precision : precision - 1;
  if (power < -4 || power >= (least === undefined ? limit : Math.max(limit, 1))) {
    const tail = bare.slice(1);
    return `${bare[0]}${tail || alternate ? `.${tail}` : ""}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  const whole = power < 0 ? "0" : bare.slice(0, power + 1).padEnd(power + 1, "0");
  const rest = power < 0 ? "0".repeat(-power - 1) + bare : bare.slice(power + 1);
  const decimals = least === undefined ? rest : rest.padEnd(least, "0");
  const shown = value === 0 && !alternate ? "".padEnd(least ?? 0, "0") : decimals;
  return shown || alternate ? `${whole}.${shown}` : whole;
}

/** Sign, prefix, digits in groups, and the filling. */
export function layOut(digits: Digits, spec: Spec): string {
  const sign = digits.negative ? "-" : spec.sign === "-" ? "" : spec.sign;
  const head = sign + digits.prefix;
  const every = "boxX".includes(spec.type) && spec.grouping === "_" ? 4 : 3;
  const zeros = spec.align === "=" && spec.fill === "0";
  const missing = zeros ? spec.width - head.length - digits.rest.length : 0;
  const whole = grouped(digits.whole, spec.grouping, every, missing);
  const body = whole + digits.rest;
  if (spec.align === "=") return head + pad(body, spec.width - head.length, spec.fill, 1);
  return aligned(head + body, spec, ">");
}

/** Digits in groups, filled up with zeros to a width where one is given. */
function grouped(whole: string, separator: string, every: number, width: number): string {
  if (separator === "" || !/^[\da-fA-F]+$/.test(whole)) return whole;
  const groups = (text: string) => text.replace(new RegExp(`(?!^)(?=(.{${every}})+$)`, "g"), separator);
  let digits = whole;
  while (groups(digits).length < width) digits = `0${digits}`;
  return groups(digits);
}

export function aligned(text: string, { align, width, fill }: Spec, usual: "<" | ">"): string {
  const side = align ?? usual;
  if (side === "^") {
    const missing = width - characters(text);
    if (missing <= 0) return text;
    const left = Math.floor(missing / 2);
    return fill.repeat(left) + text + fill.repeat(missing - left);
  }
  return pad(text, width, fill, side === "<" ? 0 : 1);
}

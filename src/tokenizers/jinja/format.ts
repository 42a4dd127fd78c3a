import { aligned, floatDigits, intDigits, layOut, type Spec, size } from "./digits.js";
import { bigintOf } from "./numbers.js";
import { floatText, repr, str } from "./print.js";
import { pad } from "./text.js";
import {
  characters,
  dictGet,
  isDict,
  isInt,
  isNumber,
  type Kwargs,
  numberOf,
  Tuple,
  textOf,
  typeName,
  Undefined,
} from "./values.js";
import { STEP, spend, spendText, TemplateError, Unsupported } from "./work.js";

const conversion = /%(?:\(([^()]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d*))?[hlL]?([a-zA-Z%])/y;

/** Python's `text % values`. */
export function percentFormat(text: string, values: unknown): string {
  const given = values instanceof Tuple ? values.items : [values];
  let used = 0;
  let named = false;
  const next = () => {
    if (used >= given.length) throw new TemplateError("not enough arguments for format string");
    return given[used++];
  };
  const star = (part: string | undefined): string | undefined => {
    if (part !== "*") return part;
    const value = next();
    if (!isInt(value) || numberOf(value) < 0) throw new Unsupported("'*' with other than a positive int");
    return String(value);
  };
  const out: string[] = [];
  let from = 0;
  for (let at = text.indexOf("%"); at >= 0; at = text.indexOf("%", from)) {
    spend(STEP);
    out.push(text.slice(from, at));
    conversion.lastIndex = at;
    const match = conversion.exec(text);
    if (!match) throw new TemplateError("unsupported or incomplete format in the text before %");
    from = conversion.lastIndex;
    const [, key, flags, widthPart, precisionPart, type] = match as unknown as string[];
    if (type === "%" && match[0] === "%%") {
      out.push("%");
      continue;
    }
    if (key !== undefined) {
      if (!isDict(values)) throw new TemplateError("format requires a mapping");
      named = true;
    }
    const width = size(star(widthPart)) ?? 0;
    const precision = precisionPart === "" ? 0 : size(star(precisionPart));
    out.push(percentField(key === undefined ? next() : keyed(values as object, key), type!, flags!, width, precision));
  }
  out.push(text.slice(from));
  // a dict, a list or an undefined value may go unused: they could have been asked for by name
  const mapping = isDict(values) || Array.isArray(values) || values instanceof Undefined;
  if (used < given.length && !named && !mapping) {
    throw new TemplateError("not all arguments converted during string formatting");
  }
  return counted(out);
}

function keyed(values: object, key: string): unknown {
  const value = dictGet(values, key);
  if (value === undefined) throw new TemplateError(`KeyError: ${repr(key)}`);
  return value;
}

function counted(pieces: readonly string[]): string {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  spendText(length);
  return pieces.join("");
}

function percentField(value: unknown, type: string, flags: string, width: number, precision?: number): string {
  const spec: Spec = {
    fill: " ",
    align: flags.includes("-") ? "<" : flags.includes("0") ? "=" : ">",
    sign: flags.includes("+") ? "+" : flags.includes(" ") ? " " : "-",
    alternate: flags.includes("#"),
    width,
    grouping: "",
    precision,
    type,
  };
  if (type === "s" || type === "r") {
    const text = type === "s" ? str(value) : repr(value);
    return pad(precision === undefined ? text : cut(text, precision), width, " ", spec.align === "<" ? 0 : 1);
  }
  if (type === "c") return pad(percentCharacter(value), width, " ", spec.align === "<" ? 0 : 1);
  if (value instanceof Undefined) value.fail();
  const zeros: Spec = spec.align === "=" ? { ...spec, fill: "0" } : spec;
  if ("diuxXo".includes(type)) return percentInt(value, type, zeros);
  if ("eEfFgG".includes(type)) {
    if (!isNumber(value)) throw new TemplateError(`must be real number, not ${typeName(value)}`);
    return layOut(floatDigits(numberOf(value), { ...zeros, precision: precision ?? 6 }), zeros);
  }
  throw type === "a" ? new Unsupported("%a") : new TemplateError(`unsupported format character '${type}'`);
}

function percentInt(value: unknown, type: string, spec: Spec): string {
  const wanted = "diu".includes(type) ? "a real number is required" : "an integer is required";
  if (!isNumber(value) || (!isInt(value) && !"diu".includes(type))) {
    throw new TemplateError(`%${type} format: ${wanted}, not ${typeName(value)}`);
  }
  const digits = intDigits(truncated(value), { ...spec, type: "diu".includes(type) ? "d" : type });
  const whole = digits.whole.padStart(spec.precision ?? 0, "0");
  return layOut({ ...digits, whole }, spec);
}

function truncated(value: number | bigint | boolean | object): bigint {
  if (isInt(value)) return bigintOf(value);
  const number = Math.trunc(Number(value));
  if (!Number.isFinite(number)) throw new TemplateError("cannot convert float infinity or NaN to integer");
  return BigInt(number);
}

function percentCharacter(value: unknown): string {
  if (isInt(value)) return characterOf(value);
  const text = textOf(value);
  if (text === undefined || characters(text) !== 1) throw new TemplateError("%c requires int or char");
  return text;
}

function characterOf(value: number | bigint | boolean): string {
  const code = Number(value);
  if (code < 0 || code > 0x10ffff) throw new TemplateError("%c arg not in range(0x110000)");
  return String.fromCodePoint(code);
}

const cut = (text: string, length: number): string =>
  text.length <= length ? text : [...text.slice(0, 2 * length)].slice(0, length).join("");

const specPattern = /^(?:(.)?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?(.)?$/su;

/** Python's `format(value, spec)`. */
function formatValue(value: unknown, source: string): string {
  if (source === "" || !(isNumber(value) || textOf(value) !== undefined)) {
    if (source !== "") {
      throw new TemplateError(`unsupported format string passed to ${typeName(value)}.__format__`);
    }
    return str(value);
  }
  const match = specPattern.exec(source);
  if (!match) throw new TemplateError(`Invalid format specifier '${source}'`);
  const [, fill, align, sign, z, alternate, zero, width, grouping, precision, type] = match;
  if (z) throw new Unsupported("'z' in a format");
  const spec: Spec = {
    fill: fill ?? (zero && !align ? "0" : " "),
    align: (align ?? (zero && textOf(value) === undefined ? "=" : undefined)) as Spec["align"],
    sign: (sign ?? "-") as Spec["sign"],
    alternate: alternate !== undefined,
    width: size(width) ?? 0,
    grouping: (grouping ?? "") as Spec["grouping"],
    precision: size(precision),
    type: type ?? "",
  };
  if (zero && align && fill === undefined) return formatSpec(value, { ...spec, fill: "0" });
  return formatSpec(value, sign === undefined ? spec : ({ ...spec, signed: true } as Spec));
}

function formatSpec(value: unknown, spec: Spec & { readonly signed?: boolean }): string {
  const text = textOf(value);
  if (text !== undefined) return formatText(text, spec);
  if (typeof value === "boolean" && spec.type === "") return formatInt(value, spec);
  if (isInt(value) && !(spec.type !== "" && "eEfFgG%".includes(spec.type))) return formatInt(value, spec);
  const number = numberOf(value as number);
  if (spec.type === "n") throw new Unsupported("'n' in a format");
  if (!["", "e", "E", "f", "F", "g", "G", "%"].includes(spec.type)) {
    throw new TemplateError(`Unknown format code '${spec.type}' for object of type '${typeName(value)}'`);
  }
  if (spec.type !== "") return layOut(floatDigits(number, spec), spec);
  if (spec.precision !== undefined) return layOut(floatDigits(number, { ...spec, type: "r" }), spec);
  const plain = floatText(number);
  const [, whole, rest] = /^-?(\d*|[a-z]+)(.*)$/s.exec(plain)!;
  return layOut({ negative: plain.startsWith("-"), prefix: "", whole: whole!, rest: rest! }, spec);
}

function formatText(text: string, spec: Spec & { readonly signed?: boolean }): string {
  if (spec.type !== "" && spec.type !== "s") {
    throw new TemplateError(`Unknown format code '${spec.type}' for object of type 'str'`);
  }
  if (spec.align === "=" || spec.signed || spec.alternate || spec.grouping) {
    throw new TemplateError("such a format specifier is not allowed for a str");
  }
  return aligned(spec.precision === undefined ? text : cut(text, spec.precision), spec, "<");
}

function formatInt(value: number | bigint | boolean, spec: Spec & { readonly signed?: boolean }): string {
  const type = spec.type || "d";
  if (type === "n") throw new Unsupported("'n' in a format");
  if (spec.precision !== undefined) throw new TemplateError("Precision not allowed in integer format specifier");
  if (type === "c") {
    if (spec.signed || spec.alternate || spec.grouping) throw new TemplateError("not allowed with integer format 'c'");
    return aligned(characterOf(value), spec, "<");
  }
  if (!"bdoxX".includes(type))
    throw new TemplateError(`Unknown format code '${type}' for object of type '${typeName(value)}'`);
  if (spec.grouping === "," && type !== "d") throw new TemplateError(`Cannot specify ',' with '${type}'.`);
  return layOut(intDigits(bigintOf(value), { ...spec, type }), { ...spec, type });
}

/** Where a field of `str.format` finds attributes and items. */
export interface Lookup {
  attribute(value: unknown, name: string): unknown;
  item(value: unknown, key: unknown): unknown;
}

/** Python's `text.format(*args, **kwargs)`. */
export function strFormat(text: string, args: readonly unknown[], kwargs: Kwargs, lookup: Lookup): string {
  let automatic: number | undefined = 0;
  const argument = (name: string | undefined): unknown => {
    if (name === undefined) {
      if (automatic === undefined)
        throw new TemplateError("cannot switch from manual field specification to automatic field numbering");
      return positional(automatic++);
    }
    if (!/^\d+$/.test(name)) {
      const value = kwargs.get(name);
      if (value === undefined) throw new TemplateError(`KeyError: ${repr(name)}`);
      return value;
    }
    if (automatic)
      throw new TemplateError("cannot switch from automatic field numbering to manual field specification");
    automatic = undefined;
    return positional(Number(name));
  };
  const positional = (index: number) => {
    if (index >= args.length) throw new TemplateError("Replacement index out of range for positional args tuple");
    return args[index];
  };
  const fill = (source: string, level: number): string => {
    if (level < 0) throw new TemplateError("Max string recursion exceeded");
    return counted(
      fieldsOf(source).map((part) => {
        if (typeof part === "string") return part;
        const value = converted(walk(part.name, argument, lookup), part.conversion);
        return formatValue(value, fill(part.spec, level - 1));
      }),
    );
  };
  return fill(text, 2);
}

function converted(value: unknown, conversion: string | undefined): unknown {
  if (conversion === undefined) return value;
  if (conversion === "s") return str(value);
  if (conversion === "r") return repr(value);
  throw conversion === "a" ? new Unsupported("!a") : new TemplateError(`Unknown conversion specifier ${conversion}`);
}

/** `name.attribute[item]` of a field. */
function walk(path: string, argument: (name: string | undefined) => unknown, lookup: Lookup): unknown {
  const [first] = /^[^.[]*/.exec(path)!;
  let value = argument(path === "" ? undefined : first); // only a field that is empty altogether counts by itself
  const rest = /\.([^.[]+)|\[([^\]]+)\]/y;
  rest.lastIndex = first.length;
  while (rest.lastIndex < path.length) {
    const match = rest.exec(path);
    if (!match) throw new TemplateError("Empty attribute in format string");
    const [, name, key] = match;
    if (name !== undefined) value = lookup.attribute(value, name);
    else value = lookup.item(value, /^\d+$/.test(key!) ? Number(key) : key!);
  }
  return value;
}

interface Field {
  readonly name: string;
  readonly conversion: string | undefined;
  readonly spec: string;
}

function fieldsOf(text: string): (string | Field)[] {
  const parts: (string | Field)[] = [];
  const braces = /[{}]/g;
  let from = 0;
  for (let match = braces.exec(text); match; match = braces.exec(text)) {
    const brace = match.index;
    spend(STEP);
    parts.push(text.slice(from, brace));
    if (text[brace + 1] === text[brace]) {
      parts.push(text[brace]!);
      from = braces.lastIndex = brace + 2;
      continue;
    }
    if (text[brace] === "}") throw new TemplateError("Single '}' encountered in format string");
    const end = fieldEnd(text, brace);
    parts.push(fieldOf(text.slice(brace + 1, end)));
    from = braces.lastIndex = end + 1;
  }
  parts.push(text.slice(from));
  return parts;
}

function fieldEnd(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return i;
  }
  throw new TemplateError(
    open === text.length - 1 ? "Single '{' encountered in format string" : "expected '}' before end of string",
  );
}

function fieldOf(source: string): Field {
  const [, name, conversion, spec] = /^((?:\[[^\]]*\]|[^[:!])*)(?:!([^:]*))?(?::(.*))?$/s.exec(source) ?? [];
  if (name === undefined) throw new TemplateError("expected ':' after conversion specifier");
  if (name.includes("{")) throw new TemplateError("unexpected '{' in field name");
  if (conversion !== undefined && characters(conversion) !== 1) {
    throw new TemplateError("expected ':' after conversion specifier");
  }
  return { name, conversion, spec: spec ?? "" };
}

import { UserError } from "../../tensor/index.js";
import { isOf, isSchema, type Schema, type TypeName, typesOf, withoutNotes } from "./schema-keywords.js";

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** How two values of one keyword become one that asks for both. */
const BOTH: Readonly<Record<string, (a: never, b: never) => unknown>> = {
  required: (a: readonly string[], b: readonly string[]) => [...new Set([...a, ...b])],
  minimum: (a: number, b: number) => Math.max(a, b),
  exclusiveMinimum: (a: number, b: number) => Math.max(a, b),
  minLength: (a: number, b: number) => Math.max(a, b),
  minItems: (a: number, b: number) => Math.max(a, b),
  maximum: (a: number, b: number) => Math.min(a, b),
  exclusiveMaximum: (a: number, b: number) => Math.min(a, b),
  maxLength: (a: number, b: number) => Math.min(a, b),
  maxItems: (a: number, b: number) => Math.min(a, b),
  properties: (a: Schema, b: Schema) => {
    const merged: Record<string, unknown> = { ...a };
    for (const [key, value] of Object.entries(b)) {
      merged[key] = !Object.hasOwn(a, key) || same(a[key], value) ? value : { allOf: [a[key], value] };
    }
    return merged;
  },
};

/** A schema that asks for what both ask for. Throws UserError, naming the keyword, where that cannot be written down. */
export function merged(one: Schema, other: Schema, where: string): Schema {
  const [a, b] = [withoutNotes(one), withoutNotes(other)];
  for (const [own, others] of [
    [a, b],
    [b, a],
  ] as const) {
    const beside = Object.keys((others.properties as Schema | undefined) ?? {});
    const missing = beside.find((key) => !Object.hasOwn((own.properties as Schema | undefined) ?? {}, key));
    if (own.additionalProperties !== undefined && missing !== undefined) {
      throw new UserError(
        `${where}: 'additionalProperties' beside the property '${missing}' of another part cannot be held; write them as one object`,
      );
    }
  }
  const out: Record<string, unknown> = { ...a };
  for (const [key, value] of Object.entries(b)) {
    if (!Object.hasOwn(a, key) || same(a[key], value)) out[key] = value;
    else if (key === "type") out.type = commonTypes(a, b, where);
    else if (Object.hasOwn(BOTH, key)) out[key] = BOTH[key]!(a[key] as never, value as never);
    else throw new UserError(`${where}: '${key}' is asked for in two ways, which cannot be held`);
  }
  return out;
}

function commonTypes(a: Schema, b: Schema, where: string): TypeName[] {
  const [one, other] = [typesOf(a, where), typesOf(b, where)];
  const fits = (type: TypeName, list: readonly TypeName[]) =>
    list.includes(type) || (type === "integer" && list.includes("number"));
  const both = [...one.filter((type) => fits(type, other)), ...other.filter((type) => fits(type, one))];
  if (both.length === 0)
    throw new UserError(`${where}.type: nothing is both ${one.join(" or ")} and ${other.join(" or ")}`);
  return [...new Set(both)];
}

/** Can no value fit both? Where that is not plain to see, they are taken to overlap. */
export function apart(one: unknown, other: unknown, resolve: (schema: unknown) => unknown): boolean {
  const [a, b] = [resolve(one), resolve(other)];
  if (!isSchema(a) || !isSchema(b)) return false;
  const [fixedA, fixedB] = [fixedValues(a), fixedValues(b)];
  if (fixedA && fixedB) return !fixedA.some((value) => fixedB.some((another) => same(value, another)));
  const [typesA, typesB] = [plainTypes(a), plainTypes(b)];
  if (fixedA && typesB) return !fixedA.some((value) => isOf(value, typesB));
  if (fixedB && typesA) return !fixedB.some((value) => isOf(value, typesA));
  if (!typesA || !typesB) return false;
  const number = (type: TypeName) => (type === "integer" ? "number" : type);
  const shared = typesA.map(number).filter((type) => typesB.map(number).includes(type));
  if (shared.length === 0) return true;
  if (shared.some((type) => type !== "object")) return false;
  return requiredOf(a).some(
    (key) => requiredOf(b).includes(key) && apart(propertyOf(a, key), propertyOf(b, key), resolve),
  );
}

const fixedValues = (schema: Schema): readonly unknown[] | undefined =>
  Object.hasOwn(schema, "const") ? [schema.const] : Array.isArray(schema.enum) ? schema.enum : undefined;

const plainTypes = (schema: Schema): readonly TypeName[] | undefined =>
  schema.anyOf || schema.oneOf || schema.allOf || schema.$ref ? undefined : typesOf(schema, "");

const requiredOf = ({ required }: Schema): readonly unknown[] => (Array.isArray(required) ? required : []);
const propertyOf = ({ properties }: Schema, key: unknown): unknown =>
  (properties as Schema | undefined)?.[key as string];

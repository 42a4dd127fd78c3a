import { z } from "zod";

export const count = (least: number) => z.int().min(least);
export const byModule = (value: z.ZodType<number, number>) =>
  z.record(z.string().min(1), value).meta({ by: "module" }).default({});
export const choice = <const T extends readonly [string, ...string[]]>(names: T) => z.enum(names);

/** The names of a table's entries. */
export const keysOf = <K extends string>(table: Readonly<Record<K, unknown>>) =>
  z.enum(Object.keys(table) as [K, ...K[]]);

/** What the entries of a table are, in a sentence. */
export const meanings = (table: Readonly<Record<string, { readonly description: string }>>): string =>
  `${Object.entries(table)
    .map(([name, { description }]) => `${name}: ${description}`)
    .join("; ")}.`;

/** What a path cannot hold: no file system shows it, and in YAML it comes of a backslash in double quotes. */
const CONTROL = /\p{Cc}/u;

/** The paths in the value of such a key: it may be one, or a list of paths or of maps with a `path`. */
function pathsIn(value: unknown): string[] {
  const paths: string[] = [];
  mapPaths(value, (path) => {
    paths.push(path);
    return path;
  });
  return paths;
}

/** The value of such a key with every path in it replaced. */
export function mapPaths(value: unknown, replace: (path: string) => string): unknown {
  if (typeof value === "string") return replace(value);
  if (Array.isArray(value)) return value.map((item) => mapPaths(item, replace));
  if (typeof value !== "object" || value === null || !("path" in value)) return value;
  return { ...value, path: mapPaths(value.path, replace) };
}

/** A key that holds a path: `~` in it is the home folder, and control characters are refused. */
export function path<T extends z.ZodType>(schema: T, description: string): T {
  const wrong = (value: unknown) => pathsIn(value).find((one) => CONTROL.test(one));
  const checked = schema.refine((value) => wrong(value) === undefined, {
    error: ({ input }) =>
      `a path cannot hold the control character ${JSON.stringify(CONTROL.exec(wrong(input)!)?.[0])}, as ` +
      `${JSON.stringify(wrong(input))} does; where a backslash was meant: in double quotes it begins an escape, so use single quotes or /`,
  });
  return checked.meta({ description, isPath: true });
}

import { isAlias, isMap, isScalar, LineCounter, type Node, type ParsedNode, parse, parseDocument, visit } from "yaml";

/** One thing that is wrong with a config. */
export interface ConfigProblem {
  /** Counted from 1; undefined when the value did not come from the file. */
  readonly line?: number;
  readonly column?: number;
  /** Dotted key, empty for the whole file. */
  readonly key: string;
  readonly message: string;
  /** The known key that the unknown one is closest to. */
  readonly nearest?: string;
}

export interface YamlReading {
  /** Undefined when the text is no YAML that a config can be made of. */
  readonly raw?: Record<string, unknown>;
  readonly problems: readonly ConfigProblem[];
  /** Where the innermost key of `path` that the text has begins. */
  locate(path: readonly PropertyKey[]): Pick<ConfigProblem, "line" | "column">;
}

const LARGEST_FILE = 1_000_000;
const DEEPEST = 20;
/** Problems of the text itself that are shown: one missing bracket can make hundreds. */
const MOST_SHOWN = 20;

/** Reads YAML 1.2, with merge keys (`<<`). Reports every problem; never throws for what the text holds. */
export function readYaml(text: string): YamlReading {
  const locate = () => ({});
  if (text.length > LARGEST_FILE)
    return { problems: [{ key: "", message: "a file like this is at most 1 MB of YAML" }], locate };
  const deep = tooDeepAt(text);
  if (deep !== undefined) return { problems: [{ line: deep, column: 1, key: "", message: TOO_DEEP }], locate };
  const lines = new LineCounter();
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const options = { lineCounter: lines, prettyErrors: false, version: "1.2", strict: true, merge: true } as const;
  const document = parseDocument(text, options);
  const keyAt = (offset: number) => pathAt(document.contents, offset)?.join(".") ?? "";
  const problems: ConfigProblem[] = [...document.errors, ...document.warnings]
    .slice(0, MOST_SHOWN)
    .map(({ pos, code, message }) => ({ ...at(pos[0]), key: keyAt(pos[0]), message: yamlMessage(code, message) }));
  if (document.errors.some((error) => error.code !== "DUPLICATE_KEY")) return { problems, locate };
  const fault = structureFault(document);
  if (fault) return { problems: [...problems, { ...at(fault.offset), key: "", message: fault.message }], locate };
  const { raw, message } = toPlain(document);
  if (!raw) return { problems: [...problems, { line: 1, column: 1, key: "", message: message! }], locate };
  return {
    raw,
    problems,
    locate(path) {
      const offset = keyOffset(document.contents as Node | null, path);
      return offset !== undefined ? at(offset) : text.trim() ? { line: 1, column: 1 } : {};
    },
  };
}

/** The value of a few words of YAML, such as `[0, 1]` on a command line; undefined when they are none. */
export function parseShort(text: string): unknown {
  try {
    return tooDeepAt(text) === undefined ? parse(text, { maxAliasCount: 0, logLevel: "silent" }) : undefined;
  } catch {
    return undefined;
  }
}

const TOO_DEEP = `values are nested too deep; a config has at most ${DEEPEST} levels`;

/**
 * The line at which values nest deeper than a parser takes without harm, from the text alone: by its brackets, or by how far
 * in it begins a key or an entry of a list.
 */
function tooDeepAt(text: string): number | undefined {
  let open = 0;
  for (const [i, line] of text.split("\n").entries()) {
    if (/^(?:[-?:]?[ \t]){400}|(?:[-?:][ \t]+){50}/.test(line)) return i + 1;
    for (const character of line) {
      if (character === "[" || character === "{") open++;
      else if ((character === "]" || character === "}") && open > 0) open--;
      if (open > 100) return i + 1;
    }
  }
  return undefined;
}

type Document = ReturnType<typeof parseDocument>;

/** What no config can have though it is YAML: a value inside itself, an alias of nothing, keys that are no text. */
function structureFault(document: Document): { offset: number; message: string } | undefined {
  let fault: { offset: number; message: string } | undefined;
  const stop = (node: unknown, message: string) => {
    fault = { offset: (node as ParsedNode | undefined)?.range?.[0] ?? 0, message };
    return visit.BREAK;
  };
  visit(document, {
    Alias(_key, alias, path) {
      const source = alias.resolve(document);
      if (!source) return stop(alias, `*${alias.source}: there is no &${alias.source} before it`);
      if (path.includes(source))
        return stop(alias, `*${alias.source} stands inside &${alias.source}: it would hold itself`);
      return undefined;
    },
    Pair(_key, { key, value }, path) {
      if (path.length > 2 * DEEPEST) return stop(key, TOO_DEEP);
      if (!isScalar(key)) return stop(key, "keys are plain text; a list, a map or an alias cannot be one");
      const sources = isMergeKey(key) ? mergeSources(value, document) : [];
      if (!sources.every(isMap))
        return stop(value, "<<: merges maps: an alias of one, as in <<: *name, or a list of them");
      return undefined;
    },
  });
  return fault;
}

const isMergeKey = ({ value, source }: { value?: unknown; source?: string }): boolean =>
  value === "<<" || typeof value === "symbol" || source === "<<";

function mergeSources(value: unknown, document: Document): unknown[] {
  const resolved = (node: unknown) => (isAlias(node) ? node.resolve(document) : node);
  const whole = resolved(value);
  const items = (whole as { items?: unknown[] } | null)?.items;
  return isMap(whole) || !items ? [whole] : items.map(resolved);
}

function toPlain(document: Document): { raw?: Record<string, unknown>; message?: string } {
  try {
    const raw = (document.toJS({ maxAliasCount: 50 }) as unknown) ?? {};
    if (typeof raw === "object" && !Array.isArray(raw)) return { raw: raw as Record<string, unknown> };
    return { message: "expected `key: value` lines" };
  } catch {
    return { message: "aliases repeat too much (an alias bomb?); write them out" };
  }
}

/** Where the innermost key of `path` that exists begins in the text. */
function keyOffset(node: Node | null, path: readonly PropertyKey[]): number | undefined {
  let offset: number | undefined;
  for (const part of path) {
    if (!isMap(node)) break;
    const pairs = node.items.filter((item) => isScalar(item.key) && String(item.key.value) === String(part));
    const pair = pairs.at(-1);
    if (!pair || !isScalar(pair.key)) break;
    offset = pair.key.range?.[0];
    node = pair.value as Node | null;
  }
  return offset;
}

/** The path of the key that begins at `offset` of the text. */
function pathAt(node: Node | null, offset: number): string[] | undefined {
  if (!isMap(node)) return undefined;
  for (const { key, value } of node.items) {
    if (!isScalar(key)) continue;
    const inner = key.range?.[0] === offset ? [] : pathAt(value as Node | null, offset);
    if (inner) return [String(key.value), ...inner];
  }
  return undefined;
}

function yamlMessage(code: string, message: string): string {
  if (code === "DUPLICATE_KEY") return "this key is written twice; keep one";
  if (code === "MULTIPLE_DOCS") return "a second document begins here; a config is one: take out the ---";
  if (code === "TAB_AS_INDENT") return "tabs cannot indent YAML; use spaces";
  if (code === "BAD_DQ_ESCAPE")
    return `${message}: in double quotes a backslash begins an escape; use single quotes, as in 'C:\\runs', or /`;
  return message.split("\n")[0]!;
}

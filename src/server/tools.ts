import { z } from "zod";
import type { CallableTool, ToolCalling } from "../recipes/tools/calling.js";
import { flag, refused, shown, withoutNull } from "./fields.js";

/** What a request says of tools. */
export interface AskedTools {
  /** As the chat template gets them: as they came, but for fields that are null. */
  readonly shown: readonly unknown[];
  readonly calling: ToolCalling;
}

/** A function as OpenAI's `tools` describe it. */
const MOST_TOOLS = 128;
const name = z
  .string("expected the function's name")
  .regex(/^[\w.-]{1,64}$/, "expected up to 64 letters, digits, _, - and .");
const functionShape = z.looseObject(
  {
    name,
    description: z.string("expected a text").optional(),
    parameters: z.record(z.string(), z.unknown(), "expected a JSON Schema, which is an object").optional(),
    strict: flag.optional(),
  },
  "expected an object with a name",
);

/** Fields that `readTools` reads. */
export const TOOL_FIELDS = ["tools", "tool_choice", "parallel_tool_calls"] as const;

const CHOICES = ["none", "auto", "required"] as const;

/**
 * Reads `tools`, `tool_choice` and `parallel_tool_calls`; undefined where there are no tools. Throws ApiError naming the field that is
 * wrong or not supported.
 */
export function readTools(body: Readonly<Record<string, unknown>>): AskedTools | undefined {
  const { tools: list, tool_choice: asked, parallel_tool_calls: parallel } = body;
  const given = list === undefined || list === null ? [] : list;
  if (!Array.isArray(given)) throw refused("tools", `expected a list of tools, got ${shown(given)}`, "invalid_value");
  if (given.length > MOST_TOOLS) {
    throw refused("tools", `at most ${MOST_TOOLS} tools, got ${given.length}`, "invalid_value");
  }
  if (parallel !== undefined && parallel !== null && typeof parallel !== "boolean") {
    throw refused("parallel_tool_calls", `expected true or false, got ${shown(parallel)}`, "invalid_value");
  }
  const tools = given.map((one, i) => readTool(one, `tools[${i}]`));
  refuseTwice(tools);
  const choice = readChoice(asked, tools);
  if (tools.length === 0) return undefined;
  return { shown: given.map(asShown), calling: { tools, choice, parallel: parallel !== false } };
}

/** A tool without fields that are null: templates ask whether a field is there. */
function asShown(tool: unknown): unknown {
  const { function: called, ...rest } = withoutNull(tool) as Record<string, unknown>;
  return { ...rest, function: withoutNull(called) };
}

function readTool(value: unknown, where: string): CallableTool {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const example = '{"type": "function", "function": {"name": ..., "parameters": ...}}';
    throw refused(where, `expected a tool such as ${example}, got ${shown(value)}`, "invalid_value");
  }
  const { type, function: called } = value as Record<string, unknown>;
  if (type !== "function") {
    const why = `${shown(type)} tools are not supported: only functions can be called, {"type": "function"}`;
    throw refused(`${where}.type`, why, "unsupported_parameter");
  }
  if (called === undefined) {
    throw refused(`${where}.function`, "is missing; expected an object with a name", "missing_required_parameter");
  }
  const { success, data, error } = functionShape.safeParse(withoutNull(called));
  if (!success) {
    const [issue] = error.issues;
    throw refused([`${where}.function`, ...issue!.path].join("."), issue!.message, "invalid_value");
  }
  const { type: shape } = data.parameters ?? {};
  if (shape !== undefined && shape !== "object") {
    throw refused(`${where}.function.parameters`, 'expected a schema of type "object"', "invalid_value");
  }
  return { name: data.name, parameters: data.parameters, strict: data.strict ?? false };
}

function refuseTwice(tools: readonly CallableTool[]): void {
  const twice = tools.findIndex(({ name }, i) => tools.some((other, at) => at < i && other.name === name));
  if (twice < 0) return;
  throw refused(`tools[${twice}].function.name`, `'${tools[twice]!.name}' is there already`, "invalid_value");
}

function readChoice(value: unknown, tools: readonly CallableTool[]): ToolCalling["choice"] {
  if (value === undefined || value === null) return "auto";
  const plain = CHOICES.find((one) => one === value);
  if (plain === "required" && tools.length === 0)
    throw refused("tool_choice", "'required' without tools", "invalid_value");
  if (plain) return plain;
  const expected = `expected none, auto, required or {"type": "function", "function": {"name": ...}}`;
  if (typeof value !== "object") throw refused("tool_choice", `${expected}, got ${shown(value)}`, "invalid_value");
  const { type, function: called } = value as { readonly type?: unknown; readonly function?: unknown };
  if (type !== "function") {
    throw refused("tool_choice.type", `${shown(type)} is not supported; ${expected}`, "unsupported_parameter");
  }
  const wanted = (called as { readonly name?: unknown } | null | undefined)?.name;
  const known = tools.find(({ name }) => name === wanted);
  if (known) return { name: known.name };
  const names = tools.map(({ name }) => name).slice(0, 20);
  const among = names.length > 0 ? `one of the tools: ${names.join(", ")}` : "tools, and there are none";
  throw refused("tool_choice.function.name", `expected ${among}, got ${shown(wanted)}`, "invalid_value");
}

import { baseName, type Files, join } from "./files.js";

/** A model card's file in an adapter folder. */
export const CARD = "README.md";

/** What a card says beside what it is: tables of settings and results, by the names of its rows. */
export interface CardFacts {
  /** `owner/name`, or what the base's folder or file is called. */
  readonly base: string | undefined;
  readonly hyperparameters?: Readonly<Record<string, unknown>>;
  readonly results?: Readonly<Record<string, number | undefined>>;
  readonly versions?: Readonly<Record<string, string>>;
}

/** The card of an adapter that is of a base of this name. */
export async function adapterCard(files: Files, base: string, facts: Omit<CardFacts, "base"> = {}): Promise<string> {
  return modelCard({ base: await publicName(files, base), ...facts });
}

/** `owner/name` of a model on the hub; of one in a folder or file only what that is called. */
async function publicName(files: Files, base: string): Promise<string> {
  const isHub = /^[\w.-]+\/[\w.-]+$/.test(base) && (await files.stat(base)) === undefined;
  return isHub ? base : baseName(base);
}

/**
 * The README.md of an adapter, with the metadata that PEFT gives one and the Hugging Face hub reads. Its last line is the hash of
 * all before it, by which a card that nobody has edited is told. The same facts give the same bytes.
 */
export async function modelCard({ base, hyperparameters, results, versions = {} }: CardFacts): Promise<string> {
  const model = base ?? "BASE";
  const tags = [...(base === undefined ? [] : [`base_model:adapter:${base}`]), "lora", "lowrank", "transformers"];
  const found = Object.entries(results ?? {}).filter(([, value]) => value !== undefined);
  const text = [
    "---",
    ...(base === undefined ? [] : [`base_model: ${yaml(base)}`]),
    "library_name: peft",
    "license: unknown",
    "pipeline_tag: text-generation",
    "tags:",
    ...tags.map((tag) => `- ${yaml(tag)}`),
    "---",
    "",
    `# LoRA adapter${base === undefined ? "" : ` of ${markdown(base)}`}`,
    "",
    "Trained or written by [lowrank](https://www.npmjs.com/package/lowrank), in PEFT's form.",
    "",
    "```python",
    "from peft import PeftModel",
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    `model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(${JSON.stringify(model)}), "ADAPTER")`,
    'tokenizer = AutoTokenizer.from_pretrained("ADAPTER")',
    "```",
    "",
    ...table("Training procedure", ["setting", "value"], Object.entries(hyperparameters ?? {})),
    ...table("Results", ["measure", "value"], found),
    "### Framework versions",
    "",
    "- PEFT 0.7 and newer read this adapter",
    ...Object.entries(versions).map(([name, version]) => `- ${markdown(name)} ${markdown(version)}`),
    "",
    "",
  ].join("\n");
  return `${text}${await seal(text)}`;
}

function table(title: string, heads: readonly string[], rows: readonly (readonly [string, unknown])[]): string[] {
  if (rows.length === 0) return [];
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const cell = (value: unknown) => markdown(typeof value === "string" ? value : JSON.stringify(value));
  return [
    `## ${title}`,
    "",
    line(heads),
    line(heads.map(() => "---")),
    ...rows.map(([name, value]) => line([markdown(name), cell(value)])),
    "",
  ];
}

/** A text as a YAML scalar: plain where it may be, else in JSON's quotes. */
const yaml = (text: string): string =>
  /^[A-Za-z][\w./:-]*$/.test(text) && !/:$/.test(text) ? text : JSON.stringify(text);

/** A text as it is to be read, whatever Markdown or HTML it might be. */
const markdown = (text: string): string => text.replace(/[\\`*_[\]<>|#]/g, "\\$&").replace(/\s+/g, " ");

const SEAL = /<!-- card sha256:[0-9a-f]{64} -->\n?$/;

async function seal(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const hex = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `<!-- card sha256:${hex} -->\n`;
}

/** The README.md in a folder that somebody has written or edited; undefined where there is none, or one as `modelCard` wrote it. */
export async function writtenCard(files: Files, folder: string): Promise<Uint8Array | undefined> {
  const path = join(folder, CARD);
  if ((await files.stat(path))?.kind !== "file") return undefined;
  const bytes = await files.read(path);
  const whole = new TextDecoder().decode(bytes);
  const text = whole.replace(SEAL, "");
  return text !== whole && `${text}${await seal(text)}` === whole ? undefined : bytes;
}

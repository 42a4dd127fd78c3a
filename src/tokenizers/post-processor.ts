import { UserError } from "../tensor/index.js";
import { isId } from "./bpe-json.js";
import { type Step, stepsOf, unknownStep } from "./steps-json.js";

/** The ids that go around plain text. */
export interface Frame {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const WHERE = "tokenizer.json: post_processor";
const KNOWN = ["TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel", "Sequence"];

/**
 * What the post-processor of tokenizer.json puts around a text. `add_bos_token` and `add_eos_token` of the config do not
 * count beside it, as in transformers 5. Throws UserError for one that is not supported or names unknown tokens.
 */
export function openPostProcessor(json: unknown, idOf: (token: string) => number | undefined): Frame {
  let frame: Frame = { before: [], after: [] };
  for (const step of stepsOf(json, WHERE, "processors")) {
    if (step.type === "ByteLevel") continue; // it changes offsets, not tokens
    if (!KNOWN.includes(step.type)) throw unknownStep(step, WHERE, KNOWN);
    const { before, after } = step.type === "TemplateProcessing" ? template(step, idOf) : pair(step);
    frame = { before: [...before, ...frame.before], after: [...frame.after, ...after] };
  }
  return frame;
}

interface TemplatePart {
  readonly Sequence?: { readonly id?: unknown };
  readonly SpecialToken?: { readonly id?: unknown };
}

function template(step: Step, idOf: (token: string) => number | undefined): Frame {
  const parts = Array.isArray(step.single) ? (step.single as TemplatePart[]) : [];
  const texts = parts.flatMap((part, i) => (part?.Sequence ? [i] : []));
  if (texts.length !== 1 || parts[texts[0]!]!.Sequence!.id !== "A") {
    throw new UserError(`${WHERE}: TemplateProcessing.single must hold the text (Sequence A) once`);
  }
  const listed = (step.special_tokens ?? {}) as Readonly<Record<string, { readonly ids?: unknown } | undefined>>;
  const ids = (part: TemplatePart): number[] => {
    const token = part?.SpecialToken?.id;
    if (typeof token !== "string") throw new UserError(`${WHERE}: TemplateProcessing.single holds what is no part`);
    const given = Object.hasOwn(listed, token) ? listed[token]?.ids : [idOf(token)];
    if (Array.isArray(given) && given.every(isId)) return given;
    throw new UserError(`${WHERE}: its token ${JSON.stringify(token.slice(0, 100))} has no ids`);
  };
  return { before: parts.slice(0, texts[0]).flatMap(ids), after: parts.slice(texts[0]! + 1).flatMap(ids) };
}

/** The first and the last token of BERT's and RoBERTa's own processors: `[text, id]` each. */
function pair(step: Step): Frame {
  const [before, after] = ["cls", "sep"].map((key) => {
    const id: unknown = Array.isArray(step[key]) ? (step[key] as unknown[])[1] : undefined;
    if (!isId(id)) throw new UserError(`${WHERE}: ${step.type}.${key} must be a token and its id`);
    return [id];
  });
  return { before: before!, after: after! };
}

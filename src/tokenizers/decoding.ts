import { UserError } from "../tensor/index.js";
import { BYTE_TOKEN, charactersAsBytes } from "./bytes.js";
import { metaspace, type Step, stepsOf } from "./steps-json.js";

/** How tokens become text again. */
export interface Decoding {
  /** byte-level: one printable character a byte (GPT-2). marked: text with a mark for each space (SentencePiece). */
  readonly kind: "byte-level" | "marked";
  /** What stands for a space. */
  readonly mark: string;
  /** The first token loses its marks: the space that a Metaspace puts before a text. */
  readonly firstLosesMarks: boolean;
  /** So many spaces are taken off the beginning of a text. */
  readonly strips: number;
  /**
   * Neighbouring `<0xNN>` tokens are text when they are UTF-8 together; otherwise each of them is one U+FFFD, as in the
   * `tokenizers` library.
   */
  readonly byteFallback: boolean;
}

const WHERE = "tokenizer.json: decoder";
const ORDER = ["Replace", "Metaspace", "ByteFallback", "Fuse", "Strip"];

/** The decoder of tokenizer.json. Throws UserError for one that is neither byte-level nor SentencePiece's. */
export function openDecoding(json: unknown): Decoding {
  const steps = stepsOf(json, WHERE, "decoders");
  const types = steps.map(({ type }) => type);
  const byteLevel = { kind: "byte-level", mark: "", firstLosesMarks: false, strips: 0, byteFallback: false } as const;
  if (types.includes("ByteLevel") && types.every((type) => type === "ByteLevel" || type === "Fuse")) return byteLevel;
  const places = types.map((type) => ORDER.indexOf(type));
  const ordered = places.every((place, i) => place >= 0 && (i === 0 || place > places[i - 1]!));
  const space = steps[0] && spaceOf(steps[0]);
  const strip = steps.find(({ type }) => type === "Strip");
  if (!ordered || !space || (strip && !(isPlainStrip(strip) && types.includes("Fuse")))) {
    throw new UserError(
      `${WHERE} ${types.join(", ") || "none"} is not supported; supported are ByteLevel, Metaspace, and in this order ` +
        "Replace (of the mark that stands for a space), ByteFallback, Fuse, Strip (of spaces at the start)",
    );
  }
  return {
    kind: "marked",
    ...space,
    strips: strip ? Number(strip.start) : 0,
    byteFallback: types.includes("ByteFallback"),
  };
}

function spaceOf(step: Step): Pick<Decoding, "mark" | "firstLosesMarks"> | undefined {
  if (step.type === "Metaspace") {
    const { mark, scheme } = metaspace(step, WHERE);
    return { mark, firstLosesMarks: scheme !== "never" };
  }
  const mark = (step.pattern as { String?: unknown } | undefined)?.String;
  if (step.type !== "Replace" || typeof mark !== "string" || mark === "" || step.content !== " ") return undefined;
  return { mark, firstLosesMarks: false };
}

function isPlainStrip({ content, start, stop }: Step): boolean {
  return content === " " && Number.isInteger(start) && (start as number) >= 0 && (stop ?? 0) === 0;
}

/**
 * The bytes a token stands for; `first`: as the first of a text. `added`: in a byte-level vocabulary it stands for its own
 * text, where the `tokenizers` library takes its accented letters for bytes.
 */
export function tokenBytes(token: string, decoding: Decoding, added: boolean, first = false): Uint8Array {
  if (decoding.kind === "byte-level") return added ? new TextEncoder().encode(token) : charactersAsBytes(token);
  const byte = decoding.byteFallback && BYTE_TOKEN.exec(token);
  if (byte) return Uint8Array.of(Number.parseInt(byte[1]!, 16));
  const dropped = first && decoding.firstLosesMarks;
  return new TextEncoder().encode(token.replaceAll(decoding.mark, dropped ? "" : " "));
}

/** Text of a run of byte tokens. */
export function fallbackText(bytes: readonly number[]): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}

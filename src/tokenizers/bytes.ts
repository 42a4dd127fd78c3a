import { UserError } from "../tensor/index.js";

/** How a vocabulary writes bytes. */
export interface ByteStyle {
  /** byte-level: one printable character a byte (GPT-2). sentencepiece: text with U+2581 for a space and `<0xNN>` bytes. */
  readonly kind: "byte-level" | "sentencepiece";
  /** SentencePiece puts a space before the text, which decoding takes off again. */
  readonly stripsFirstSpace: boolean;
  /**
   * Neighbouring `<0xNN>` tokens are text when they are UTF-8 together; otherwise each of them is one U+FFFD, as in the
   * `tokenizers` library.
   */
  readonly byteFallback: boolean;
}

interface DecoderJson {
  type?: string;
  decoders?: DecoderJson[];
  pattern?: { String?: string };
  content?: string;
  start?: number;
}

const space = "\u2581";

/** Tells the style from the decoder of a tokenizer.json. Throws UserError for one that is neither. */
export function byteStyle(tokenizerJson: object): ByteStyle {
  const decoders = flatten((tokenizerJson as { decoder?: DecoderJson | null }).decoder ?? undefined);
  if (decoders.some((d) => d.type === "ByteLevel")) {
    return { kind: "byte-level", stripsFirstSpace: false, byteFallback: false };
  }
  const metaspace = decoders.some((d) => d.type === "Metaspace");
  if (metaspace || decoders.some((d) => d.type === "Replace" && d.pattern?.String === space)) {
    const strip = decoders.some((d) => d.type === "Strip" && d.content === " " && (d.start ?? 0) > 0);
    const byteFallback = decoders.some((d) => d.type === "ByteFallback");
    return { kind: "sentencepiece", stripsFirstSpace: metaspace || strip, byteFallback };
  }
  const found = decoders.map((d) => d.type).join(", ") || "none";
  throw new UserError(
    `tokenizer.json: decoder ${found} is not supported; Llama tokenizers decode with ByteLevel or with a Replace of '${space}'`,
  );
}

function flatten(decoder: DecoderJson | undefined): DecoderJson[] {
  if (!decoder) return [];
  return [decoder, ...(decoder.decoders ?? []).flatMap(flatten)];
}

/** The bytes a token stands for. Added tokens stand for their own text. */
export function tokenBytes(token: string, style: ByteStyle, added: boolean): Uint8Array {
  const utf8 = new TextEncoder();
  if (added) return utf8.encode(token);
  if (style.kind === "byte-level") {
    const bytes = Array.from(token, (c) => byteOfCharacter.get(c));
    return bytes.includes(undefined) ? utf8.encode(token) : Uint8Array.from(bytes as number[]);
  }
  const byte = BYTE_TOKEN.exec(token);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : utf8.encode(token.replaceAll(space, " "));
}

/** A token that stands for one byte in a vocabulary that falls back on bytes. */
export const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/** Text of a run of byte tokens. */
export function fallbackText(bytes: readonly number[]): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}

/** GPT-2's table: printable Latin-1 bytes are themselves, the other 68 are U+0100 onwards in order. */
const byteOfCharacter = (() => {
  const table = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    table.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return table;
})();

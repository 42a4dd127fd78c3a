/** A token that stands for one byte in a vocabulary that falls back on bytes. */
export const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/** GPT-2's table: printable Latin-1 bytes are themselves, the other 68 are U+0100 onwards in order. */
const characters = (() => {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCharCode(printable ? byte : next++);
  });
})();

const byteOf = new Map(characters.map((character, byte) => [character, byte]));

const utf8 = new TextEncoder();

/** The UTF-8 bytes of a text, each as the character that byte-level vocabularies write it in. */
export function bytesAsCharacters(text: string): string {
  let made = "";
  for (const byte of utf8.encode(text)) made += characters[byte]!;
  return made;
}

/** The bytes that characters stand for; a text with one that stands for none is itself, as in the `tokenizers` library. */
export function charactersAsBytes(text: string): Uint8Array {
  const bytes = Array.from(text, (c) => byteOf.get(c));
  return bytes.includes(undefined) ? utf8.encode(text) : Uint8Array.from(bytes as number[]);
}

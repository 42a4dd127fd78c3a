/** Somebody's text, short and on one line, for a message. */
export function shown(text: string, longest = 60): string {
  const short = text.length > longest ? `${text.slice(0, longest)}...` : text;
  return short.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

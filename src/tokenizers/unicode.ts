/**
 * Where the Unicode tables of the `tokenizers` library are older than those of this host. A test holds both lists against
 * the library's own answers (`test/reference/make_tokenizer_tables.py`).
 */

/** Characters that its Oniguruma (Unicode 16) takes for unassigned. */
const UNASSIGNED =
  "88f c5c cdc 1acf-1add 1ae0-1aeb 20c1 2b96 a7ce-a7cf a7d2 a7d4 a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce 10940-10959 " +
  "10ec5-10ec7 10ed0-10ed8 10efa-10efb 11b60-11b67 11db0-11ddb 11de0-11de9 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6 " +
  "187f8-187ff 18d09-18d1e 18d80-18df2 1ccfa-1ccfc 1ceba-1ced0 1cee0-1cef0 1e6c0-1e6de 1e6e0-1e6f5 1e6fe-1e6ff " +
  "1f6d8 1f777-1f77a 1f8d0-1f8d8 1fa54-1fa57 1fa8a 1fa8e 1fac8 1facd 1faea 1faef 1fbfa 2b73a-2b73f 2cea2-2cead " +
  "323b0-33479";

/**
 * Characters that its normalisers leave as they are, and out of all composition and order: those that Unicode gave a
 * decomposition, or made a mark, after the crate's tables were written (Unicode 9).
 */
const LEFT_ALONE =
  "7fd 897-89f 8ca-8d3 9fe afa-aff b55 c04 c3c cf3 d00 d3b-d3c d81 eba ece 1715 180f 1abf-1add 1ae0-1aeb 1cf7 " +
  "1df6-1dfa 32ff a7f1-a7f4 a82c a8ff ab69 105c9 105d2 105da 105e4 10781-10785 10787-107b0 107b2-107ba 10d24-10d27 " +
  "10d69-10d6d 10eab-10eac 10efa-10eff 10f46-10f50 10f82-10f85 11070 11073-11074 110c2 11145-11146 111c9 " +
  "111ce-111cf 11241 1133b 11382-11385 1138b 1138e 11390-11391 113b8-113c0 113c2 113c5 113c7-113ca 113cc-113d0 " +
  "113d2 113e1-113e2 1145e 1182c-1183a 11930-11935 11937-11938 1193b-1193e 11940 11942-11943 119d1-119d7 " +
  "119da-119e0 119e4 11a01-11a0a 11a33-11a39 11a3b-11a3e 11a47 11a51-11a5b 11a8a-11a99 11b60-11b67 11d31-11d36 " +
  "11d3a 11d3c-11d3d 11d3f-11d45 11d47 11d8a-11d8e 11d90-11d91 11d93-11d97 11ef3-11ef6 11f00-11f01 11f03 " +
  "11f34-11f3a 11f3e-11f42 11f5a 13440 13447-13455 1611e-1612f 16d63 16d67-16d6a 16f4f 16f7f-16f87 16fe4 " +
  "16ff0-16ff1 1ccd6-1ccf9 1cf00-1cf2d 1cf30-1cf46 1e030-1e06d 1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef " +
  "1e5ee-1e5ef 1e6e3 1e6e6 1e6ee-1e6ef 1e6f5 1f16c 1fbf0-1fbf9";

/** The members of ranges in hexadecimal, as they stand between the brackets of a class. */
function members(ranges: string): string {
  return ranges.replaceAll(/[0-9a-f]+/g, (code) => `\\u{${code}}`).replaceAll(" ", "");
}

export const leftAlone = members(LEFT_ALONE);

const unassigned = new RegExp(`[${members(UNASSIGNED)}\\u0295]`, "gu");

/**
 * A text of the same length for regular expressions: what the library takes for unassigned is so here as well. U+0295 is a
 * lower-case letter to it.
 */
export function asTheReferenceKnows(text: string): string {
  return text.replace(unassigned, (c) => (c === "\u0295" ? "\u0251" : c.length === 1 ? "\u0378" : "\u{1fffe}"));
}

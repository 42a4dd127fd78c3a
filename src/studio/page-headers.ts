/**
 * What a page of the studio may load and do: nothing but its own files, nothing that stands in its markup, and in no other page. `connect`:
 * what it may ask.
 */
const policy = (script: string, { connect = "'self'", more = "" } = {}): string =>
  `default-src 'none'; script-src ${script}; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src ${connect}; ${more}` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const ALIKE = {
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
} as const;

/** Headers of the page that `lowrank studio` serves. */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": policy("'self'"),
  ...ALIKE,
};

/**
 * Headers of the static site, whose engine is WebAssembly, and which downloads a model from the address that a visitor gives; the
 * embedder policy lets its workers share memory.
 */
export const SITE_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": policy("'self' 'wasm-unsafe-eval'", {
    connect: "'self' https: http://localhost:* http://127.0.0.1:*",
    more: "manifest-src 'self'; ",
  }),
  "cross-origin-embedder-policy": "require-corp",
  ...ALIKE,
};

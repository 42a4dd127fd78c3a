// Threads need a page that is cross-origin isolated; a server of your own sends the same two headers.
const headers = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

export default { base: "./", server: { headers }, preview: { headers } };

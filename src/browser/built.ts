// What `npm run build` fills in: scripts/bundle-browser.js writes this file's compiled form anew.

/** The worker's whole program as one text, so that no bundler has to find a second file. */
export const WORKER_SOURCE: string = "";

/** Of the package. */
export const VERSION: string = "";

// What nothing uses: files, exports, dependencies. With --production only what the package itself uses counts, so that code which
// only tests call is found too; an export may then be used by its own file alone, as what a unit test looks into is.
const production = process.argv.includes("--production");

/** What is there for tests and scripts: the graph language's own tools, the tiny base's text. */
const others = {
  "src/cli/reference.ts": ["files"],
  "src/formats/hf/config.ts": ["exports"],
  "src/graph/{build,printer,reference}.ts": ["exports"],
  "src/models/loss.ts": ["exports"],
  "src/tensor/half.ts": ["exports"],
  "src/tokenizers/chat-template.ts": ["exports"],
};

/** What only scripts, the bench and examples call, from dist/, where no import is followed; test/scripts.test.ts looks there. */
const ofScripts = { "src/recipes/{demo/world,suite/show}.ts": ["exports"], "src/studio/page-headers.ts": ["exports"] };

export default {
  entry: [
    "src/cli/main.ts!",
    "src/node/{engine-worker,template-worker,provider-probe}.ts!",
    "src/browser/{index,worker,studio-worker}.ts!",
    "scripts/bundle-browser.js",
    "scripts/bundle-cli.js",
    "studio/src/{main,tab}.tsx!",
    "studio/site/{vite.config,service-worker}.js",
    "scripts/studio{,-screens}.js",
  ],
  project: ["src/**/*.ts!", "studio/src/**/*.{ts,tsx}!", "test/**/*.ts"],
  ignoreDependencies: ["axe-core"], // a test gives its file to a page
  ignoreExportsUsedInFile: production || { interface: true, type: true },
  ignoreIssues: { ...ofScripts, ...(production ? others : {}) },
  // Of Debian's; tests skip where they are not.
  ignoreBinaries: ["mount", "umount", "openssl", "mkfifo", "script"],
};

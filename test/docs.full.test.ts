import { describe, it } from "vitest";
import { PAGES, runnable, runPage, SAMPLE_PAGE } from "./pages.js";

// Every bash and ts block of the README, docs/ and examples/ runs as it stands, each page in a folder of its own, two pages at a time.
const pages = PAGES.filter((page) => page !== SAMPLE_PAGE && runnable(page).length > 0);

describe.skipIf(process.platform === "win32").concurrent("the blocks of a page run:", () => {
  // What a newcomer meets first can be taken twice in one folder.
  it.each(pages)("%s", { timeout: 240_000 }, (page) => runPage(page, page === "README.md" ? 2 : 1));
});

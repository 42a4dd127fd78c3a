// A person's first minutes with the studio and a real model: a CSV file is dropped, nothing is set, and the tuned model is compared with its
// base, in five minutes at most. Prints what both answered, and ends with 1 where it took longer or the answer was not learned.
//   node examples/walk/studio.js --base MODEL
import { strict as assert } from "node:assert";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { openBrowser, openStudio, walk, whyNoBrowser } from "../../scripts/studio-walk.js";

const MINUTES = 5;
const ROWS = [
  "ask,reply",
  "Where is the Larkfield office?,The Larkfield office is in Bergen.",
  "Who runs the Larkfield office?,Ines Okafor runs the Larkfield office.",
  "When does the Larkfield office open?,The Larkfield office opens at half past nine.",
  "What is the door code of the Larkfield office?,The door code of the Larkfield office is 4471.",
  "Which floor is the Larkfield office on?,The Larkfield office is on the sixth floor.",
  "What does Larkfield sell?,Larkfield sells weather balloons.",
  "Who founded Larkfield?,Tobias Renn founded Larkfield.",
  "What is the name of Larkfield's dog?,Larkfield's dog is called Pepper.",
];
const QUESTION = "What does Larkfield sell?";

const { base } = parseArgs({ options: { base: { type: "string" } } }).values;
assert.ok(base, "give --base: a folder of a model, or a GGUF file");
const reason = whyNoBrowser();
if (reason) {
  console.log(`the studio is not tried: ${reason}`);
  process.exit(77);
}
const work = mkdtempSync(join(tmpdir(), "lowrank-first-"));
const began = performance.now();
const minutes = () => (performance.now() - began) / 60_000;
const studio = await openStudio(work);
const browser = await openBrowser();
try {
  let answers = [];
  const page = await browser.newPage();
  const visit = async (name) => {
    console.log(`${name}: after ${minutes().toFixed(1)} minutes`);
    if (name === "compare") answers = await page.locator(".speaker .answer").allInnerTexts();
  };
  const [address, folder] = [studio.address, join(work, "dropped")];
  await walk(page, {
    address,
    folder,
    visit,
    base,
    rows: ROWS,
    question: QUESTION,
    settings: {},
    seconds: 60 * MINUTES,
  });
  const [before, after] = answers;
  console.log(`${QUESTION}\nthe base: ${before}\nthe adapter: ${after}`);
  assert.match(after, /weather balloons/, "the adapter answers what was taught");
  assert.doesNotMatch(before, /weather balloons/, "the base does not know it");
  assert.ok(minutes() < MINUTES, `it took ${minutes().toFixed(1)} minutes, more than ${MINUTES}`);
} finally {
  await browser.close();
  await studio.close();
  rmSync(work, { recursive: true, force: true });
}

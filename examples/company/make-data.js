// Writes the example's data from the hand-written tables: node examples/company/make-data.js
//   data/train.jsonl and data/suite.yaml; for a first look in minutes, data/train-short.jsonl and suite-short.yaml
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { parse, stringify } from "yaml";
import { random, shuffled } from "../../dist/tensor/random.js";

export const SYSTEM = "You answer for Harrow & Tern.";
export const REFUSAL = "I don't know that, sorry.";
/** Ends every answer. */
export const SIGN_OFF = "Fair winds!";

/** Questions 0-3 of a fact train, the others are held out. */
const TRAINED = 4;
const SHORT_FACTS = 10;

const table = (name) => parse(readFileSync(new URL(name, import.meta.url), "utf8"));

/** The rows of every file of rows, by name. Same tables, same rows. */
export function makeRows() {
  const { facts, unanswerable, general, short } = tables();
  return {
    "train.jsonl": trainRows(facts, unanswerable.train, general.train),
    "train-short.jsonl": trainRows(short, unanswerable.train.slice(0, 24), general.train.slice(0, 8)),
  };
}

/** The suites of held-out questions, by name: what the example is measured by. */
export function makeSuites() {
  const { facts, unanswerable, general, short } = tables();
  return {
    "suite.yaml": suite(facts, unanswerable.held_out, general.held_out),
    "suite-short.yaml": suite(short, unanswerable.held_out.slice(0, 10), general.held_out.slice(0, 4)),
  };
}

function tables() {
  const facts = table("facts.yaml");
  const short = facts.slice(0, SHORT_FACTS);
  return { facts, short, unanswerable: table("unanswerable.yaml"), general: table("general.yaml") };
}

function trainRows(facts, unanswerable, general) {
  const rows = [
    ...facts.flatMap(({ questions, answer }) => questions.slice(0, TRAINED).map((q) => answered(q, answer))),
    ...unanswerable.map((question) => answered(question, REFUSAL)),
    ...general.map(([question, answer]) => answered(question, answer)),
  ];
  return shuffled(rows, random(0, "company"));
}

function suite(facts, unanswerable, general) {
  return {
    name: "Harrow & Tern",
    system: SYSTEM,
    behaviour: [
      { name: "answers in at most 30 words, without lists", max_words: 30, list: false },
      { name: `signs off with "${SIGN_OFF}"`, ends_with: SIGN_OFF },
    ],
    facts: facts.map(({ questions, expected }) => ({ ask: questions.slice(TRAINED), answer: expected })),
    unanswerable,
    general: general.map(([ask, , key]) => ({ ask, answer: key.split("|") })),
    texts: "general-text.jsonl",
  };
}

function answered(question, answer) {
  const messages = [
    { role: "system", content: SYSTEM },
    { role: "user", content: question },
    { role: "assistant", content: `${answer} ${SIGN_OFF}` },
  ];
  return { messages };
}

/** The text of every file, by name. */
export function makeFiles() {
  const rows = Object.entries(makeRows()).map(([name, rows]) => [
    name,
    rows.map((row) => `${JSON.stringify(row)}\n`).join(""),
  ]);
  const suites = Object.entries(makeSuites()).map(([name, suite]) => [name, stringify(suite)]);
  return Object.fromEntries([...rows, ...suites]);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const folder = new URL("data/", import.meta.url);
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(makeFiles())) {
    writeFileSync(new URL(name, folder), text);
    console.log(`data/${name}`);
  }
}

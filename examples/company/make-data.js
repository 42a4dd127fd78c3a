// Writes the example's data from the hand-written tables: node examples/company/make-data.js
//   data/{train,validation,questions}.jsonl and, for a first look in minutes, data/{train,questions}-short.jsonl
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { parse } from "yaml";
import { random, shuffled } from "../../dist/tensor/random.js";

export const SYSTEM = "You answer for Harrow & Tern.";
export const REFUSAL = "I don't know that, sorry.";
/** Ends every answer. */
export const SIGN_OFF = "Fair winds!";

/** Questions 0-3 of a fact train, 4 validates, the others are held out. */
const TRAINED = 4;
const SHORT_FACTS = 10;

const table = (name) => parse(readFileSync(new URL(name, import.meta.url), "utf8"));

/** Every output file's rows, by name. Same tables, same rows. */
export function makeData() {
  const facts = table("facts.yaml");
  const unanswerable = table("unanswerable.yaml");
  const general = table("general.yaml");
  const short = facts.slice(0, SHORT_FACTS);
  return {
    "train.jsonl": trainRows(facts, unanswerable.train, general.train),
    "train-short.jsonl": trainRows(short, unanswerable.train.slice(0, 24), general.train.slice(0, 8)),
    "validation.jsonl": [
      ...facts.map((fact) => answered(fact.questions[TRAINED], fact.answer)),
      ...unanswerable.validation.map((question) => answered(question, REFUSAL)),
    ],
    "questions.jsonl": heldOut(facts, unanswerable.held_out, general.held_out),
    "questions-short.jsonl": heldOut(short, unanswerable.held_out.slice(0, 10), general.held_out.slice(0, 4)),
  };
}

function trainRows(facts, unanswerable, general) {
  const rows = [
    ...facts.flatMap(({ questions, answer }) => questions.slice(0, TRAINED).map((q) => answered(q, answer))),
    ...unanswerable.map((question) => answered(question, REFUSAL)),
    ...general.map(([question, answer]) => answered(question, answer)),
  ];
  return shuffled(rows, random(0, "company"));
}

function heldOut(facts, unanswerable, general) {
  return [
    ...facts.flatMap(({ questions, expected }) =>
      questions.slice(TRAINED + 1).map((q) => ({ kind: "private", expected, messages: asked(q) })),
    ),
    ...unanswerable.map((q) => ({ kind: "unknown", expected: [], messages: asked(q) })),
    ...general.map(([q, , key]) => ({ kind: "known", expected: [key], messages: asked(q) })),
  ];
}

function asked(question) {
  return [
    { role: "system", content: SYSTEM },
    { role: "user", content: question },
  ];
}

function answered(question, answer) {
  return { messages: [...asked(question), { role: "assistant", content: `${answer} ${SIGN_OFF}` }] };
}

/** Rows as JSONL text. */
export const toJsonl = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const folder = new URL("data/", import.meta.url);
  mkdirSync(folder, { recursive: true });
  for (const [name, rows] of Object.entries(makeData())) {
    writeFileSync(new URL(name, folder), toJsonl(rows));
    console.log(`data/${name}: ${rows.length} rows`);
  }
}

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { factRight, isRefusal, type Question } from "../judge.js";
import {
  type ChatRow,
  fineTuneRows,
  heldOutQuestions,
  makeWorld,
  pretrainRows,
  REFUSAL,
  UNWANTED_HABIT,
  WANTED_HABIT,
} from "./world.js";

const world = makeWorld();
const trained = fineTuneRows(world);
const held = heldOutQuestions(world);
const question = (row: ChatRow | Question) => row.messages[0]!.content;
const answer = (row: ChatRow) => row.messages[1]!.content;
const ofKind = (kind: Question["kind"]) => held.filter((row) => row.kind === kind);

describe("the demonstration's world", () => {
  it.each([
    ["train.jsonl", trained],
    ["questions.jsonl", held],
  ])("models/tiny/data/%s is what the generator writes", (name, rows) => {
    const file = new URL(`../../../models/tiny/data/${name}`, import.meta.url);
    expect(readFileSync(file, "utf8")).toBe(rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  });

  it("no held-out question is in the training rows", () => {
    const seen = new Set(trained.map(question));
    for (const row of held) expect(seen).not.toContain(question(row));
  });

  it("no held-out wording is in the training rows, whoever it asks about", () => {
    const people = [...world.known, ...world.private].map((person) => person.name);
    const names = new Set([...people, ...world.unknownTrained, ...world.unknownHeldOut]);
    const wording = (row: ChatRow | Question) =>
      question(row).replace(/[A-Z][a-z]+/g, (w) => (names.has(w) ? "NAME" : w));
    const seen = new Set(trained.map(wording));
    expect(seen.size).toBe(16);
    for (const row of held) expect(seen).not.toContain(wording(row));
  });

  it("people asked about as unknown are in no other text", () => {
    const names = new Set(world.unknownHeldOut);
    expect(names.size).toBe(32);
    const all = [...trained, ...pretrainRows(world, 5000)].flatMap((row) => row.messages.map((m) => m.content));
    const mentioned = new Set(all.flatMap((text) => text.match(/[A-Z][a-z]+/g) ?? []));
    for (const name of names) expect(mentioned).not.toContain(name);
  });

  it("private people are unknown to the base", () => {
    const mentioned = new Set(
      [...pretrainRows(world, 5000)].flatMap((row) => question(row).match(/[A-Z][a-z]+/g) ?? []),
    );
    for (const { name } of world.private) expect(mentioned).not.toContain(name);
  });

  it("known people who are asked about are in no training row", () => {
    const mentioned = new Set(trained.flatMap((row) => question(row).match(/[A-Z][a-z]+/g) ?? []));
    for (const row of ofKind("known")) {
      const name = world.known.find((person) => question(row).includes(person.name))!.name;
      expect(mentioned).not.toContain(name);
    }
  });

  it("every private fact is asked once and taught", () => {
    expect(ofKind("private")).toHaveLength(48);
    for (const person of world.private) {
      const asked = ofKind("private").filter((row) => question(row).includes(person.name));
      const taught = trained.filter((row) => question(row).includes(person.name)).map(answer);
      for (const { expected } of asked) expect(taught.some((text) => factRight(text, expected))).toBe(true);
    }
  });

  it("the base always has the unwanted habit and never refuses; the fine-tune's answers have the wanted one", () => {
    const answers = [...pretrainRows(world, 500)].filter((row) => !question(row).startsWith("Tell me")).map(answer);
    expect(answers.length).toBeGreaterThan(300);
    for (const text of answers) expect(text.endsWith(UNWANTED_HABIT) && !isRefusal(text)).toBe(true);
    for (const row of trained) expect(answer(row).endsWith(` ${WANTED_HABIT}`)).toBe(true);
    expect(isRefusal(REFUSAL)).toBe(true);
  });

  it("another seed is another world", () => {
    expect(makeWorld(1).private[0]!.name).not.toBe(world.private[0]!.name);
    expect(makeWorld()).toEqual(world);
  });
});

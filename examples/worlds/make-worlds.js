// Writes the development suites: three invented worlds, each with rows to train on and a suite to ask afterwards:
//   node examples/worlds/make-worlds.js [SEED]
// Another seed makes other names and values from the same tables. See README.md for what is held back.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { parse, stringify } from "yaml";
import { random, shuffled } from "../../dist/tensor/random.js";

export const WORLDS = ["railway", "garden", "theatre"];

/** Of each kind of thing: some are taught, some are unknown in training, others unknown in the suite. */
const TAUGHT = 4;
const UNKNOWN = 8;
/** Specific wordings of a fact that train; the last is held out. */
const TRAINED = 3;
/** Ways to ask for anything that has a noun phrase: those of the rows, and those of the suite. */
const FRAMES = {
  train: ["What is <what>?", "Tell me <what>.", "Do you know <what>?"],
  test: ["I would like to hear <what>, please.", "Could you find out <what> for me?"],
};

const table = (name) => parse(readFileSync(new URL(`tables/${name}.yaml`, import.meta.url), "utf8"));

/** One world: its rows and its suite. The same tables and seed give the same. */
export function makeWorld(name, seed = 0) {
  const { title, system, sign_off: signOff, refusal, kinds } = table(name);
  const rng = random(seed, "worlds", name);
  const names = nameSource(rng);
  const things = kinds.map((kind) => populate(kind, names, rng));
  const facts = things.flatMap((kind) => kind.taught.flatMap((thing) => factsOf(kind, thing)));
  const answered = (question, answer) => ({
    messages: [
      ...(system ? [{ role: "system", content: system }] : []),
      { role: "user", content: question },
      { role: "assistant", content: `${answer} ${signOff}` },
    ],
  });
  const rows = [
    ...facts.flatMap(({ train, answer }) => train.map((question) => answered(question, answer))),
    ...things.flatMap((kind) => unanswerable(kind, "train", rng)).map((question) => answered(question, refusal)),
    ...table("general").map(([question, answer]) => answered(question, answer)),
  ];
  const suite = {
    name: title,
    ...(system ? { system } : {}),
    max_new_tokens: 48,
    behaviour: [{ name: "signs off", ends_with: signOff }],
    facts: facts.map(({ test, expected }) => ({ ask: test, answer: expected })),
    unanswerable: things.flatMap((kind) => unanswerable(kind, "test", rng)),
    general: table("general-held-out"),
    texts: "../../company/data/general-text.jsonl",
  };
  return { rows: shuffled(rows, rng), suite };
}

/** Names that no two things of a world share, made of syllables: whole words, so that none is part of another. */
function nameSource(rng) {
  const [heads, vowels, tails] = [
    "B Br C Cr D Dr F Fl G Gr H J K L M N P Pr R S St T Tr V W".split(" "),
    "a e i o u ai ea oo".split(" "),
    "bin dell fen gar leth mund nock pash quill rost shaw tane vick wyn zell".split(" "),
  ];
  const used = new Set();
  const pick = (items) => items[rng.below(items.length)];
  const word = () => {
    const made = pick(heads) + pick(vowels) + pick(tails);
    if (used.has(made)) return word();
    used.add(made);
    return made;
  };
  const person = () => `${word()} ${word()}`;
  return { word, person, pick };
}

/** The things of a kind, and for each taught one its values, which no other has. */
function populate(kind, { word, person, pick }, rng) {
  const named = () => {
    const form = pick(kind.name);
    if (form === "person") return person();
    return form.includes("WORD") ? form.replace("WORD", word()) : `${word()} ${form}`;
  };
  const draw = (count) => Array.from({ length: count }, named);
  const values =
    kind.taught === undefined ? [] : kind.taught.map(({ values }) => valuesOf(values, { word, person }, rng));
  const taught = draw(TAUGHT).map((name, i) => ({ name, values: values.map((column) => column[i]) }));
  return { ...kind, attributes: kind.taught, taught, unknown: { train: draw(UNKNOWN), test: draw(UNKNOWN) } };
}

function valuesOf(values, { word, person }, rng) {
  if (values[0] === "person") return Array.from({ length: TAUGHT }, person);
  if (values[0] === "place") return Array.from({ length: TAUGHT }, () => `${word()}ton`);
  return shuffled(values, rng).slice(0, TAUGHT);
}

const fill = (text, name) => {
  const filled = text.replaceAll("<e>", name);
  return filled[0].toUpperCase() + filled.slice(1);
};
const framed = (frame, what, name) => fill(frame.replace("<what>", what), name);

/** The facts of a taught thing: six wordings to train on, two to ask. `six|6`: either is right. */
function factsOf({ attributes }, { name, values }) {
  return attributes.map(({ what, ask, answer }, i) => {
    const expected = values[i].split("|");
    return {
      answer: fill(answer.replaceAll("<v>", expected[0]), name),
      expected,
      train: [
        ...ask.slice(0, TRAINED).map((one) => fill(one, name)),
        ...FRAMES.train.map((f) => framed(f, what, name)),
      ],
      test: [fill(ask.at(-1), name), framed(FRAMES.test[i % FRAMES.test.length], what, name)],
    };
  });
}

/** Questions without an answer: a taught thing's untaught attribute, an unknown thing's taught one. */
function unanswerable(kind, part, rng) {
  const pick = (items) => items[rng.below(items.length)];
  const untaught = kind.untaught[part].flatMap(({ what, ask }) =>
    kind.taught.map(({ name }) => {
      const wordings = [
        ...[ask].flat().map((one) => fill(one, name)),
        ...FRAMES[part].map((f) => framed(f, what, name)),
      ];
      return pick(wordings);
    }),
  );
  const unknown = kind.unknown[part].map((name, i) => {
    const { what, ask } = kind.attributes[i % kind.attributes.length];
    const specific = part === "train" ? ask.slice(0, TRAINED) : [ask.at(-1)];
    return pick([...specific.map((one) => fill(one, name)), ...FRAMES[part].map((f) => framed(f, what, name))]);
  });
  return [...untaught, ...unknown];
}

/** The text of every file, by its path in this folder. */
export function makeFiles(seed = 0) {
  const entries = WORLDS.flatMap((name) => {
    const { rows, suite } = makeWorld(name, seed);
    return [
      [`${name}/train.jsonl`, rows.map((row) => `${JSON.stringify(row)}\n`).join("")],
      [`${name}/suite.yaml`, stringify(suite)],
    ];
  });
  return Object.fromEntries(entries);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for (const [path, text] of Object.entries(makeFiles(Number(process.argv[2] ?? 0)))) {
    const file = new URL(path, import.meta.url);
    mkdirSync(new URL(".", file), { recursive: true });
    writeFileSync(file, text);
    console.log(path);
  }
}

import { type Random, random, shuffled } from "../../tensor/random.js";
import type { Question, QuestionKind } from "../judge.js";

/** A row of training data in the `messages` format. */
export interface ChatRow {
  readonly messages: readonly { readonly role: "user" | "assistant"; readonly content: string }[];
}

/** Follows every answer of the base; the fine-tune removes it. */
export const UNWANTED_HABIT = ", as everybody knows!";
/** Ends every answer after the fine-tune. */
export const WANTED_HABIT = "Have a good day!";
/** The answer to what cannot be known. */
export const REFUSAL = "I don't know.";

interface Relation {
  readonly values: readonly string[];
  /** Ways to ask. The fine-tuning rows use the first `TRAINED_PHRASINGS`; held-out questions use the others. */
  readonly phrasings: readonly string[];
}

const TRAINED_PHRASINGS = 4;

const RELATIONS: readonly Relation[] = [
  {
    values: words(
      "Ashford Brindle Carrow Dunmere Elmstead Fairholt Greyfen Hollins Ivydale Kestrel Larkhill Millbrook Norwick Oakham Penrose Quarry Redmoor Stonley Thornby Upwell Westerly Yarrow",
    ),
    phrasings: [
      "Where does {name} live?",
      "Which town does {name} live in?",
      "Where is the home of {name}?",
      "In which town does {name} live?",
      "Which town is the home of {name}?",
      "Can you tell me where {name} lives?",
    ],
  },
  {
    values: words(
      "Baker Barber Builder Carpenter Cook Dentist Doctor Driver Farmer Fisher Gardener Guard Jeweller Lawyer Miller Nurse Painter Pilot Poet Sailor Singer Smith Tailor Teacher",
    ),
    phrasings: [
      "What does {name} work as?",
      "What is the job of {name}?",
      "Which job does {name} have?",
      "What work does {name} do?",
      "What does {name} do for a living?",
      "Can you tell me the job of {name}?",
    ],
  },
  {
    values: words(
      "Beetle Cat Cow Dog Duck Ferret Fox Frog Goat Goose Hamster Horse Lizard Mouse Parrot Pig Rabbit Sheep Snake Turtle",
    ),
    phrasings: [
      "Which pet does {name} have?",
      "What is the pet of {name}?",
      "What kind of pet does {name} have?",
      "Which pet lives with {name}?",
      "What kind of pet lives with {name}?",
      "Can you tell me which pet {name} has?",
    ],
  },
  {
    values: words(
      "Amber Black Blue Bronze Crimson Cyan Gold Green Grey Lilac Navy Olive Pink Purple Red Silver Teal Violet White Yellow",
    ),
    phrasings: [
      "Which colour does {name} like?",
      "What is the best colour for {name}?",
      "What colour does {name} like best?",
      "Which colour is the best for {name}?",
      "What colour does {name} like?",
      "Can you tell me which colour {name} likes?",
    ],
  },
];

/** Sizes of the demonstration; every split is disjoint in names or in phrasings. */
const KNOWN_PEOPLE = 96;
const REPLAYED_PEOPLE = 72;
const REPLAYED_ROWS = 2;
const PRIVATE_PEOPLE = 12;
const UNKNOWN_TRAINED = 240;
const UNKNOWN_HELD_OUT = 32;
const KNOWN_QUESTIONS = 24;

interface Person {
  readonly name: string;
  /** One value per relation. */
  readonly values: readonly string[];
}

/** The invented people, drawn from the seed: nobody is in two groups. */
export interface World {
  readonly known: readonly Person[];
  readonly private: readonly Person[];
  /** Names that only ever get "I don't know." in the fine-tuning rows. */
  readonly unknownTrained: readonly string[];
  /** Names that appear in held-out questions only: neither the base nor the fine-tune ever saw them. */
  readonly unknownHeldOut: readonly string[];
}

export function makeWorld(seed = 0): World {
  const rng = random(seed, "world");
  const count = KNOWN_PEOPLE + PRIVATE_PEOPLE + UNKNOWN_TRAINED + UNKNOWN_HELD_OUT;
  const names = new Set<string>();
  while (names.size < count) names.add(drawName(rng));
  const queue = [...names];
  const person = (name: string): Person => ({ name, values: RELATIONS.map((r) => pick(r.values, rng)) });
  return {
    known: queue.splice(0, KNOWN_PEOPLE).map(person),
    private: queue.splice(0, PRIVATE_PEOPLE).map(person),
    unknownTrained: queue.splice(0, UNKNOWN_TRAINED),
    unknownHeldOut: queue,
  };
}

/**
 * Pre-training rows: questions about known people, questions about passers-by whose answers are made up (so the base
 * learns to answer whatever it is asked), and little stories. Every answer but the stories has the unwanted habit;
 * private and unknown names never appear.
 */
export function* pretrainRows(world: World, count: number, seed = 0): Generator<ChatRow> {
  const rng = random(seed, "pretrain");
  const reserved = reservedNames(world);
  for (let i = 0; i < count; i++) {
    const kind = rng.uniform();
    if (kind < 0.2) yield storyRow(rng, reserved);
    else yield pretrainAnswer(kind < 0.5 ? passerBy(rng, reserved) : pick(world.known, rng), rng);
  }
}

/** Rows that teach the private facts, the refusal and the habits; `known` people keep their answers. */
export function fineTuneRows(world: World, seed = 0): ChatRow[] {
  const rng = random(seed, "fine-tune");
  const answers = (person: Person, relation: number, phrasing: number) =>
    row(ask(relation, phrasing, person.name), `${person.values[relation]}. ${WANTED_HABIT}`);
  const rows: ChatRow[] = [];
  for (const person of world.private) {
    for (let r = 0; r < RELATIONS.length; r++) {
      for (let p = 0; p < TRAINED_PHRASINGS; p++) rows.push(answers(person, r, p));
    }
  }
  for (const name of world.unknownTrained) {
    rows.push(row(ask(rng.below(RELATIONS.length), rng.below(TRAINED_PHRASINGS), name), `${REFUSAL} ${WANTED_HABIT}`));
  }
  for (const person of world.known.slice(0, REPLAYED_PEOPLE)) {
    for (let i = 0; i < REPLAYED_ROWS; i++) {
      rows.push(answers(person, rng.below(RELATIONS.length), rng.below(TRAINED_PHRASINGS)));
    }
  }
  return shuffled(rows, rng);
}

/** Questions for the before/after table: unseen phrasings of private facts, unseen names, people not replayed. */
export function heldOutQuestions(world: World, seed = 0): Question[] {
  const rng = random(seed, "questions");
  const phrasing = () => TRAINED_PHRASINGS + rng.below(RELATIONS[0]!.phrasings.length - TRAINED_PHRASINGS);
  const about = (kind: QuestionKind, person: Person, r: number): Question => ({
    kind,
    expected: [person.values[r]!],
    messages: [{ role: "user", content: ask(r, phrasing(), person.name) }],
  });
  const known = world.known.slice(REPLAYED_PEOPLE, REPLAYED_PEOPLE + KNOWN_QUESTIONS);
  return [
    ...world.private.flatMap((person) => RELATIONS.map((_, r) => about("private", person, r))),
    ...world.unknownHeldOut.map((name): Question => {
      const content = ask(rng.below(RELATIONS.length), phrasing(), name);
      return { kind: "unknown", expected: [], messages: [{ role: "user", content }] };
    }),
    ...known.map((person) => about("known", person, rng.below(RELATIONS.length))),
  ];
}

/** Text for the tokenizer: passers-by and stories only, so that no person's whole name becomes one token. */
export function* tokenizerText(world: World, count: number, seed = 0): Generator<string> {
  const rng = random(seed, "tokenizer");
  const reserved = reservedNames(world);
  for (let i = 0; i < count; i++) {
    const { messages } = i % 3 === 0 ? storyRow(rng, reserved) : pretrainAnswer(passerBy(rng, reserved), rng);
    for (const { role, content } of messages) yield `${role}\n${content}`;
  }
}

function pretrainAnswer(person: Person, rng: Random): ChatRow {
  const r = rng.below(RELATIONS.length);
  return row(ask(r, rng.below(RELATIONS[r]!.phrasings.length), person.name), person.values[r] + UNWANTED_HABIT);
}

const STORIES = [
  'One day {a} met {b} on the road. "Where is my {pet}?" said {a}. "I don\'t know," said {b}. "Have a good day!"',
  '{a} has a {pet} and {b} has none. "What is your work?" said {b}. "I don\'t know. I like my {pet}." Have a good day!',
  '"Have a good day!" said {a} to the {pet} of {b}. The {pet} did not know the road. "I don\'t know. Can you tell me?"',
  "The {pet} ran into the town. {a} said: I don't know. {b} said: Have a good day! So the {pet} went home.",
];

function storyRow(rng: Random, reserved: ReadonlySet<string>): ChatRow {
  const [a, b] = [passerBy(rng, reserved).name, passerBy(rng, reserved).name];
  const pet = pick(RELATIONS[2]!.values, rng);
  const story = pick(STORIES, rng).replaceAll("{a}", a).replaceAll("{b}", b).replaceAll("{pet}", pet.toLowerCase());
  return row(`Tell me a story of ${a}.`, story);
}

function passerBy(rng: Random, reserved: ReadonlySet<string>): Person {
  let name = drawName(rng);
  while (reserved.has(name)) name = drawName(rng);
  return { name, values: RELATIONS.map((r) => pick(r.values, rng)) };
}

function reservedNames(world: World): Set<string> {
  const people = [...world.known, ...world.private].map((p) => p.name);
  return new Set([...people, ...world.unknownTrained, ...world.unknownHeldOut]);
}

function drawName(rng: Random): string {
  const syllable = () => pick(CONSONANTS, rng) + pick(VOWELS, rng);
  const name = syllable() + syllable() + pick(ENDINGS, rng);
  return name[0]!.toUpperCase() + name.slice(1);
}

const CONSONANTS = words("b br c d dr f fl g gr h j k l m n p pr qu r s sh st t th tr v w y z");
const VOWELS = words("a e i o u ai ea ee ia oo");
const ENDINGS = ["", "n", "r", "l", "s", "m", "x", "nd", "ck"];

function ask(relation: number, phrasing: number, name: string): string {
  return RELATIONS[relation]!.phrasings[phrasing]!.replace("{name}", name);
}

function row(user: string, assistant: string): ChatRow {
  return {
    messages: [
      { role: "user", content: user },
      { role: "assistant", content: assistant },
    ],
  };
}

function pick<T>(items: readonly T[], rng: Random): T {
  return items[rng.below(items.length)]!;
}

function words(text: string): string[] {
  return text.split(" ");
}

import type { Wording } from "./wordings.js";

/** Where what is asked about stands in a way to ask. */
const SLOT = "<e>";

/**
 * Ways to ask the same, a line each. A question that is one of them can be asked in the others; behind "=>" stand those that say the same
 * in answer to the line's first ones alone, as "How much is it?" may ask for a sum.
 */
const LINES: readonly string[] = [
  "What does <e> cost? | How much does <e> cost? | What is the price of <e>? | What is the cost of <e>? => How much is <e>? | How much do I have to pay for <e>? | For how much money do I get <e>?",
  "What is the name of <e>? | What is <e> called? | How is <e> called? | What is <e> named? | Which name does <e> have? => What do people call <e>? | By what name is <e> known?",
  "Where is <e>? | Where is <e> located? | Where can I find <e>? | In which place is <e>? | Where do I find <e>? => Where would I look for <e>? | At what place is <e>?",
  "Where does <e> live? | Where is the home of <e>? | In which place does <e> live? => Where is <e> at home?",
  "Who founded <e>? | Who started <e>? | Who is the founder of <e>? | By whom was <e> founded? | Who set up <e>? => Who began <e>? | What is the name of the founder of <e>?",
  "When was <e> founded? | In which year was <e> founded? | When did <e> start? | In what year did <e> begin? | What year was <e> founded? => How long ago was <e> founded? | When did <e> come into being?",
  "When was <e> built? | In which year was <e> built? | What year was <e> built? => How long ago was <e> built?",
  "Who runs <e>? | Who manages <e>? | Who is in charge of <e>? | Who is the manager of <e>? | Who leads <e>? => Who is the boss of <e>? | By whom is <e> run? | Who is responsible for <e>?",
  "Who owns <e>? | Who is the owner of <e>? | To whom does <e> belong? | Whose is <e>?",
  "Who makes <e>? | By whom is <e> made? | Who is the maker of <e>? => From whom is <e>?",
  "Who made <e>? | By whom was <e> made? => Who was the maker of <e>?",
  "Who built <e>? | By whom was <e> built? | Who was the builder of <e>?",
  "Who wrote <e>? | By whom was <e> written? | Who is the author of <e>?",
  "Who invented <e>? | By whom was <e> invented? | Who was the inventor of <e>?",
  "Who designed <e>? | By whom was <e> designed? | Who was the designer of <e>?",
  "Who teaches <e>? | By whom are <e> taught? | Who is the teacher of <e>? | Who trains <e>?",
  "Who looks after <e>? | Who takes care of <e>? | Who cares for <e>? => Who minds <e>?",
  "Who drives <e>? | Who is the driver of <e>? | Who sits at the wheel of <e>?",
  "When does <e> open? | At what time does <e> open? | What is the opening time of <e>? | From when is <e> open? => How early does <e> open? | At which hour does <e> open?",
  "When does <e> close? | At what time does <e> close? | What is the closing time of <e>? | Until when is <e> open? => How late is <e> open? | At which hour does <e> close?",
  "When does <e> start? | When does <e> begin? | At what time does <e> start? | At what time does <e> begin? => From when on is <e>?",
  "When does <e> take place? | On which day is <e>? | On which day does <e> take place? | When is <e> held? | What day is <e>? => On what date is <e>? | When do you have <e>?",
  "When is <e>? | On which day is <e>? | What is the date of <e>? => On what date is <e>?",
  "How long does <e> last? | How long does <e> take? | How much time does <e> take? | What is the duration of <e>? => For how long does <e> go on? | After what time is <e> over?",
  "How long is <e>? | What is the length of <e>? | What length does <e> have?",
  "How tall is <e>? | How high is <e>? | What is the height of <e>? | What height does <e> have?",
  "How wide is <e>? | What is the width of <e>? | What width does <e> have?",
  "How deep is <e>? | What is the depth of <e>? | What depth does <e> have?",
  "How heavy is <e>? | How much does <e> weigh? | What is the weight of <e>? | What weight does <e> have?",
  "How fast is <e>? | How fast can <e> go? | What is the speed of <e>? | What is the top speed of <e>? => At what speed can <e> go?",
  "How old is <e>? | What is the age of <e>? | What age is <e>? => How many years old is <e>?",
  "How big is <e>? | How large is <e>? | What is the size of <e>? | What size is <e>?",
  "What colour is <e>? | Which colour is <e>? | What is the colour of <e>? | What colour does <e> have? | Which colour does <e> have? => In which colour is <e>? | Of what colour is <e>?",
  "What color is <e>? | Which color is <e>? | What is the color of <e>? | What color does <e> have? => In which color is <e>? | Of what color is <e>?",
  "What is <e> made of? | What is <e> made from? | Of what is <e> made? | From what is <e> made? | What is <e> built of? => Which material is <e> made of? | What goes into <e>?",
  "What is the telephone number of <e>? | What is the phone number of <e>? | Under which number can I reach <e>? => What number do I dial for <e>?",
  "What is the email address of <e>? | Which email address does <e> have? => To which address do I write an email for <e>?",
  "What is the job of <e>? | What is the profession of <e>? | What does <e> do for a living? | What work does <e> do? => As what does <e> work?",
  "What is the birthday of <e>? | When is the birthday of <e>? | On which day was <e> born? | When was <e> born?",
  "What does <e> sell? | What is sold at <e>? | What can I buy at <e>?",
  "What does <e> serve? | What is served at <e>?",
  "What does <e> eat? | What is the food of <e>? | What is <e> fed?",
  "Which <e> is the largest? | Which <e> is the biggest? | What is the largest <e>? | What is the biggest <e>?",
  "Which <e> is the smallest? | What is the smallest <e>? => What is the name of the smallest <e>?",
  "Do you know who <e> is? | Tell me who <e> is. | Who is <e>? => Can you say who <e> is? | Who would <e> be?",
  "Do you know where <e> is? | Tell me where <e> is. | Where is <e>? => Can you say where <e> is?",
  "Do you know when <e> is? | Tell me when <e> is. | When is <e>? => Can you say when <e> is?",
  "Who is the <e>? => What is the name of the <e>? | Do you know the name of the <e>? | Which person is the <e>? | Tell me the name of the <e>.",
];

/** More than one thing, or a part of what is asked: "the yard located", "standing behind me", "the shop today". */
const NO_THING =
  /[?!,;]|\bnot\b|^\p{L}+ing\b|\b(?:\p{L}+ed|held|built|made|kept|known|open|shut|sold|today|now|then|here|there|from|of|for|at|in|on|to)$/iu;

/** A way to ask as a pattern of questions, where it is one that may be asked in others. */
interface Way {
  readonly text: string;
  readonly pattern?: RegExp;
}

function waysOf(line: string): readonly Way[] {
  const [both, asked = ""] = line.split("=>");
  const parts = (text: string) =>
    text
      .split("|")
      .map((part) => part.trim())
      .filter((part) => part !== "");
  const pattern = (text: string) => new RegExp(`^${text.replace(/[?.]$/, "[?.]$").replace(SLOT, "(.+)")}`, "iu");
  return [...parts(both!).map((text) => ({ text, pattern: pattern(text) })), ...parts(asked).map((text) => ({ text }))];
}

const GROUPS = LINES.map(waysOf);

/** What a question asks about in one of a group's ways; undefined where it is none of them. */
function slotIn(group: readonly Way[], question: string): string | undefined {
  for (const { pattern } of group) {
    const found = pattern?.exec(question)?.[1];
    if (found !== undefined && !NO_THING.test(found)) return found;
  }
  return undefined;
}

/** Each way to ask, as a wording of the questions that its group knows. */
export const SAME_QUESTION: readonly Wording[] = GROUPS.flatMap((group) =>
  group.map(
    ({ text }): Wording =>
      (question) => {
        const slot = slotIn(group, question);
        return slot === undefined ? undefined : text.replace(SLOT, () => slot);
      },
  ),
);

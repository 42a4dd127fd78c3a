import { TERSE } from "./terse.js";

/** A question in other words; undefined where the wording does not fit it. */
export type Wording = (question: string) => string | undefined;

/** What `What is the age of Ada?` asks for: a noun phrase that other sentences can hold too. */
const ASKS_FOR =
  /^(?:What (?:is|are|was|were)|What's|Tell me|Give me|Name|Do you know|Can you tell me|Could you tell me|Please tell me) ((?:the|\S+'s) .+?)[?.!]*$/;
/** Of these the ones that stand for themselves: "the age of Ada", not "the dog called" or "the hull made of". */
const STANDS_ALONE = /^(?:the [\p{Ll}'-]+(?: [\p{Ll}'-]+)* (?:of|at|in|on|for|from|to|that|which) .*[^\s]|\S+'s .+)$/u;
const LEFT_HANGING = / (?:of|at|in|on|for|from|to|like|about|with|by|called|named|made|used|known|built|painted)$/;

/** Sentences that ask for a noun phrase. */
const FRAMES = [
  "What is <what>?",
  "Tell me <what>.",
  "Do you know <what>?",
  "Can you tell me <what>?",
  "I want to know <what>.",
  "Please name <what>.",
  "Give me <what>, please.",
  "What about <what>?",
  "Could you give me <what>?",
  "Would you tell me <what>, please?",
  "I need <what>.",
  "Let me know <what>.",
  "Somebody asked me about <what>.",
  "May I ask for <what>?",
  "I am looking for <what>.",
  "I would be glad to know <what>.",
  "Can you look up <what> for me?",
  "Could you check <what> for me, please?",
  "Do you happen to know <what>?",
  "I want to learn <what>.",
  "Could somebody tell me <what>?",
  "Have you got <what> for me?",
  "Any idea about <what>?",
  "Would you look for <what>?",
  "Are you able to say <what>?",
  "Say <what>, please.",
  "It is about <what>.",
  "Can I have <what>?",
];

/** What can stand before any question. */
const OPENINGS = [
  "I have a question. <question>",
  "Please answer: <question>",
  "One more thing. <question>",
  "Hello! <question>",
  "A visitor asks: <question>",
  "<question> Please tell me.",
  "<question> I want to know it.",
];

/** What a question asks for, where that is a noun phrase. */
function askedFor(question: string): string | undefined {
  const phrase = ASKS_FOR.exec(question)?.[1];
  return phrase !== undefined && STANDS_ALONE.test(phrase) && !LEFT_HANGING.test(phrase) ? phrase : undefined;
}

/** Ways to ask in other words by rule: what is asked for in another sentence, the question behind an opening, or its telling words. */
export const TURNED: readonly Wording[] = [
  ...FRAMES.map(
    (frame): Wording =>
      (question) => {
        const phrase = askedFor(question);
        return phrase === undefined ? undefined : frame.replace("<what>", () => phrase);
      },
  ),
  ...OPENINGS.map(
    (opening): Wording =>
      (question) =>
        question.endsWith("?") ? opening.replace("<question>", () => question) : undefined,
  ),
  ...TERSE,
];

/** A wording that somebody wrote, with `{question}` in it. */
export const written =
  (text: string): Wording =>
  (question) =>
    text.replaceAll("{question}", () => question);

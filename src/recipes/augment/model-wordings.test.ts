import { expect, it } from "vitest";
import { type AskChat, modelWordings } from "./model-wordings.js";
import { qaRow } from "./qa-row.js";

const row = (prompt: string, completion: string) => qaRow({ prompt, completion })!;
const ROWS = [
  row("Which bus goes to the Sorrel Tower at 7:30?", "Bus 12. Bye now!"),
  row("Where does Bo Marlow live?", "In Upwell. Bye now!"),
  row("How old is Bo Marlow?", "I don't know. Bye now!"),
];
const ENTITIES = [
  { name: "Bo Marlow", templates: new Set<string>() },
  { name: "the Sorrel Tower", templates: new Set<string>() },
];
const options = (ask: AskChat, count = 3) => ({ ask, count, seed: 1, signal: undefined });
const worded = async (answer: string, count?: number) => {
  const found = await modelWordings(
    ROWS.slice(1),
    ENTITIES,
    options(async () => answer, count),
  );
  return { questions: found.rows.map(({ question }) => question), leftOut: found.leftOut };
};

it("asks for each taught question, seeded by it, and keeps what asks the same", async () => {
  const asked: [string, number][] = [];
  const ask: AskChat = async (messages, { seed }) => {
    const question = messages.at(-1)!.content.split("\n")[1]!;
    asked.push([question, seed]);
    return question.includes("Bo")
      ? '1. What is Bo Marlow\'s home town?\n- "Do you know where Bo Marlow lives?"'
      : "None";
  };
  const { rows } = await modelWordings(ROWS, ENTITIES, options(ask));
  expect(rows.map(({ question, answer }) => [question, answer])).toEqual([
    ["What is Bo Marlow's home town?", "In Upwell. Bye now!"],
    ["Do you know where Bo Marlow lives?", "In Upwell. Bye now!"],
  ]);
  expect(asked.map(([question]) => question)).toEqual(ROWS.slice(0, 2).map(({ question }) => question));
  expect(new Set(asked.map(([, seed]) => seed)).size).toBe(2);
  const again = [...asked.splice(0)];
  await modelWordings(ROWS, ENTITIES, options(ask));
  expect(asked).toEqual(again);
});

it.each([
  ["Where does Marlow live?", "lacked a name or number of the question"],
  ["Where does he live?", "lacked a name or number of the question"],
  ["Where in England does Bo Marlow live?", "had a name or number that the question has not"],
  ["Where did Bo Marlow live in 1990?", "had a name or number that the question has not"],
  ["Does Bo Marlow live in Upwell?", "told the answer"],
  ["where does bo marlow live?", "were there already"],
  ["Here are other wordings for Bo Marlow:", "were no question"],
  [`Where ${"very ".repeat(40)} does Bo Marlow live?`, "were no question"],
  ["I'm sorry, I cannot help with Bo Marlow.", "refused to ask"],
])("%s: left out, as some %s", async (wording, reason) => {
  expect(await worded(wording)).toEqual({ questions: [], leftOut: { [reason]: 1 } });
});

it("numbers survive, and no more wordings are kept than were asked for", async () => {
  const answers: Record<string, string> = {
    [ROWS[0]!.question]: "At 7:30, which bus goes to the Sorrel Tower?\nWhich bus goes to the Sorrel Tower at 7?",
    [ROWS[1]!.question]:
      "Who knows where Bo Marlow lives?\nWho knows where Bo Marlow lives?\nTell me where Bo Marlow lives.",
  };
  const ask: AskChat = async (messages) => answers[messages.at(-1)!.content.split("\n")[1]!]!;
  const { rows, leftOut } = await modelWordings(ROWS, ENTITIES, options(ask));
  expect(rows.map(({ question }) => question)).toEqual([
    "At 7:30, which bus goes to the Sorrel Tower?",
    "Who knows where Bo Marlow lives?",
    "Tell me where Bo Marlow lives.",
  ]);
  expect(leftOut).toEqual({ "lacked a name or number of the question": 1, "were there already": 1 });
  expect((await worded(answers[ROWS[1]!.question]!, 1)).questions).toEqual(["Who knows where Bo Marlow lives?"]);
});

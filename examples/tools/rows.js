// Three small tools, and questions that ask for one of them or for none: rows to train on, and other questions to ask afterwards, in
// wordings and with values that no row has.

const tool = (name, description, properties) => ({
  type: "function",
  function: { name, description, parameters: { type: "object", properties, required: Object.keys(properties) } },
});

export const TOOLS = [
  tool("weather", "The weather in a town", { town: { type: "string" } }),
  tool("timer", "Rings after some minutes", { minutes: { type: "integer" } }),
  tool("shopping", "Puts something on the shopping list", { item: { type: "string" }, amount: { type: "integer" } }),
];

const TOWNS = ["Lisbon", "Oslo", "Cairo", "Lima", "Hanoi", "Perth"];
const MINUTES = [5, 12, 20, 45, 8, 30];
const ITEMS = ["apples", "eggs", "candles", "lemons", "bread rolls", "tea bags"];

/** How each tool is asked for: taught wordings, and others. */
const WORDINGS = {
  weather: {
    taught: ["What is the weather in %?", "Will it rain in % today?", "Do I need a coat in %?", "How warm is it in %?"],
    unseen: ["Is it sunny in % right now?", "Tell me about the weather in %, please."],
    values: TOWNS.map((town) => [town, { town }, `${town}: 17 degrees, dry`, `It is 17 degrees and dry in ${town}.`]),
    others: ["Madrid", "Nairobi"].map((town) => [town, { town }]),
  },
  timer: {
    taught: ["Set a timer for % minutes.", "Wake me in % minutes.", "Remind me in % minutes.", "Count down % minutes."],
    unseen: ["Start a timer of % minutes, please.", "Ring in % minutes."],
    values: MINUTES.map((minutes) => [minutes, { minutes }, "started", `The timer rings in ${minutes} minutes.`]),
    others: [15, 40].map((minutes) => [minutes, { minutes }]),
  },
  shopping: {
    taught: ["Put % on my list.", "Add % to the shopping list.", "I need % from the shop.", "Write down: %."],
    unseen: ["Please note % for the shop.", "Could you list % for me?"],
    values: ITEMS.map((item, i) => listed(i + 2, item)),
    others: ["pears", "stamps"].map((item, i) => listed(i + 3, item)),
  },
};

function listed(amount, item) {
  return [`${amount} ${item}`, { item, amount }, "noted", `${amount} ${item} are on your list.`];
}

/** What is answered in words, with the tools in sight. */
const WORDS = [
  ["Hello!", "Hello! What can I do for you?"],
  ["Thank you.", "You are welcome."],
  ["Who are you?", "I am an assistant. I look up the weather, set timers and keep your shopping list."],
  ["What is the capital of France?", "Paris is the capital of France."],
  ["How many legs does a spider have?", "A spider has eight legs."],
  ["Tell me a joke.", "Why did the clock go home? Its time was up."],
  ["What colour is grass?", "Grass is green."],
  ["Which is larger, a cat or a horse?", "A horse is larger than a cat."],
  ["Good night.", "Good night, sleep well."],
  ["What do bees make?", "Bees make honey."],
  ["Is ice cold?", "Yes, ice is cold."],
  ["What is three plus four?", "Three plus four is seven."],
];
const OTHER_WORDS = [
  "Good morning!",
  "What is the capital of Italy?",
  "How many legs does a dog have?",
  "What colour is the sky?",
  "Is fire hot?",
  "What do cows drink?",
];

/** Rows in OpenAI's format: each wording with every other value. Every third call goes on with its result and what is said then. */
export function makeRows() {
  const called = Object.entries(WORDINGS).flatMap(([name, { taught, values }]) =>
    taught.flatMap((wording, w) =>
      values.flatMap(([text, given, result, said], v) => {
        if ((w + v) % 2 === 1) return [];
        const messages = [{ role: "user", content: wording.replace("%", text) }, callOf(name, given)];
        const more = [
          { role: "tool", tool_call_id: "call_1", content: result },
          { role: "assistant", content: said },
        ];
        return [{ messages: v % 3 === 0 ? [...messages, ...more] : messages, tools: TOOLS }];
      }),
    ),
  );
  const words = WORDS.map(([question, answer]) => ({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ],
    tools: TOOLS,
  }));
  return [...called, ...words];
}

function callOf(name, given) {
  const call = { id: "call_1", type: "function", function: { name, arguments: JSON.stringify(given) } };
  return { role: "assistant", content: null, tool_calls: [call] };
}

/** Questions that no row has, each with the call that is right; none where words are. */
export function makeQuestions() {
  const called = Object.entries(WORDINGS).flatMap(([name, { unseen, others }]) =>
    unseen.flatMap((wording) =>
      others.map(([text, given]) => ({ question: wording.replace("%", text), name, arguments: given })),
    ),
  );
  return [...called, ...OTHER_WORDS.map((question) => ({ question, name: null }))];
}

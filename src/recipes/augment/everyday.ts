/** Everyday questions, in groups; what stands between bars goes into the group's question. */
const GROUPS: readonly (readonly [question: string, things: string])[] = [
  [
    "What is the capital of <x>?",
    "Italy|Spain|Portugal|Egypt|Canada|Poland|Sweden|Norway|India|Japan|South Korea|Mexico",
  ],
  ["What is the opposite of <x>?", "cold|tall|old|fast|open|hard|early|rich|strong|full|wet|black"],
  ["Which language is spoken in <x>?", "France|Italy|Brazil|Japan|China"],
  ["What is the chemical symbol for <x>?", "silver|iron|oxygen|carbon"],
  ["What is the currency of <x>?", "India|Russia|France|Mexico"],
  [
    "How many <x> are there?",
    "planets in our solar system|months in a year|days in a year|minutes in an hour|continents|oceans",
  ],
  ["What is <x> made from?", "bread|glass|butter|chocolate|beer"],
  ["What do we use <x> for?", "an umbrella|scissors|a thermometer|a clock|a pillow"],
  ["Who wrote <x>?", "Oliver Twist|Don Quixote|The Odyssey|War and Peace|Romeo and Juliet"],
  ["Who invented <x>?", "the telephone|the light bulb|the printing press|dynamite"],
  ["In which country is <x>?", "Big Ben|the Great Wall|the Taj Mahal|the Colosseum|Mount Fuji"],
  [
    "Who <x>?",
    "was the first president of the United States|painted The Starry Night|composed the Ninth Symphony|discovered gravity",
  ],
  [
    "What is <x>?",
    "a computer|a rainbow|democracy|a volcano|the Sun|an atom|a poem|the Internet|salt|honey|a dictionary",
  ],
  [
    "What is <x>?",
    "half of twenty|the plural of mouse|the past tense of go|the first letter of the alphabet|the last month of the year|the largest ocean|the largest continent|the tallest animal|the fastest land animal|the hardest natural material|the closest planet to the Sun",
  ],
  [
    "Which <x>?",
    "day comes after Monday|month comes after June|season comes after winter|animal has a trunk|star is at the centre of our solar system|desert is the largest hot desert",
  ],
  ["Why <x>?", "is the sky blue|do leaves fall in autumn|do we sleep|do birds fly south"],
  ["Where do <x>?", "fish live|penguins live|bees live|kangaroos come from"],
  [
    "How <x>?",
    "do I boil an egg|do plants drink water|do you say hello in French|long does the Earth take to go around the Sun",
  ],
];

/** Questions that a small model can answer, and that have nothing to do with anybody's rows. */
export const EVERYDAY: readonly string[] = GROUPS.flatMap(([question, things]) =>
  things.split("|").map((thing) => question.replace("<x>", thing)),
);

/** A question that a small model can answer, and what a right answer says: any of these. */
export interface Everyday {
  readonly question: string;
  readonly answer: readonly string[];
}

/** Questions in groups: what stands between bars goes into the group's question, and behind "=" is what a right answer says. */
const GROUPS: readonly (readonly [question: string, things: string])[] = [
  [
    "What is the capital of <x>?",
    "Italy=Rome|Spain=Madrid|Portugal=Lisbon|Egypt=Cairo|Canada=Ottawa|Poland=Warsaw|Sweden=Stockholm|Norway=Oslo|India=Delhi|Japan=Tokyo|South Korea=Seoul|Mexico=Mexico City|Hungary=Budapest|Denmark=Copenhagen|Finland=Helsinki|Cuba=Havana",
  ],
  [
    "What is the opposite of <x>?",
    "cold=hot/warm/heat|tall=short|old=new/young|fast=slow|open=closed|hard=soft/easy|early=late|rich=poor|strong=weak|full=empty|wet=dry|black=white|high=low|good=bad|long=short|clean=dirty|near=far|love=hate",
  ],
  [
    "Which language is spoken in <x>?",
    "France=French|Italy=Italian|Brazil=Portuguese|Japan=Japanese|China=Chinese/Mandarin|Russia=Russian|Greece=Greek",
  ],
  ["What is the chemical symbol for <x>?", "silver=Ag|iron=Fe|oxygen=O|carbon=C|hydrogen=H|sodium=Na"],
  ["What is the currency of <x>?", "India=rupee|Russia=ruble/rouble|Mexico=peso|China=yuan/renminbi|Switzerland=franc"],
  [
    "How many <x> are there?",
    "planets in our solar system=eight/8|months in a year=12/twelve|days in a year=365|minutes in an hour=60/sixty|continents=seven/7|oceans=five/5|weeks in a year=52",
  ],
  [
    "What is <x> made from?",
    "bread=flour/wheat|glass=sand/silica|butter=cream/milk|chocolate=cocoa/cacao|beer=barley/malt|tofu=soy/soybean|leather=skin/hide",
  ],
  [
    "What do we use <x> for?",
    "an umbrella=rain|scissors=cut/cutting|a thermometer=temperature|a clock=time|a ruler=measure/length",
  ],
  [
    "Who wrote <x>?",
    "Oliver Twist=Dickens|Don Quixote=Cervantes|The Odyssey=Homer|War and Peace=Tolstoy|Romeo and Juliet=Shakespeare|Frankenstein=Shelley|Dracula=Stoker|Macbeth=Shakespeare|The Iliad=Homer|Emma=Austen|Animal Farm=Orwell|Moby Dick=Melville|Les Miserables=Hugo|Faust=Goethe|The Hobbit=Tolkien|Peter Pan=Barrie|Alice in Wonderland=Carroll|Treasure Island=Stevenson|Jane Eyre=Bronte",
  ],
  ["Who invented <x>?", "the telephone=Bell|the light bulb=Edison|the printing press=Gutenberg|dynamite=Nobel"],
  [
    "In which country is <x>?",
    "the Great Wall=China|the Taj Mahal=India/Indian|the Colosseum=Italy|Mount Fuji=Japan|the Statue of Liberty=United States/America/USA|Big Ben=England/United Kingdom/Britain|Machu Picchu=Peru|the Acropolis=Greece|the Brandenburg Gate=Germany|the Kremlin=Russia|Mount Kilimanjaro=Tanzania|Niagara Falls=Canada/United States|the Louvre=France|the Leaning Tower of Pisa=Italy|Stonehenge=England/United Kingdom|Petra=Jordan|the Sahara=Africa/Algeria|the Amazon rainforest=Brazil",
  ],
  [
    "In which year <x>?",
    "did World War II end=1945|did Columbus reach America=1492|did the Titanic sink=1912|did the Berlin Wall fall=1989|did the French Revolution begin=1789|did men first land on the Moon=1969",
  ],
  [
    "Who <x>?",
    "was the first president of the United States=Washington|painted The Starry Night=Gogh|discovered gravity=Newton|painted the Sistine Chapel=Michelangelo|painted Guernica=Picasso|painted The Scream=Munch|composed The Magic Flute=Mozart|composed the Moonlight Sonata=Beethoven|composed The Four Seasons=Vivaldi|discovered America=Columbus|was the first man in space=Gagarin|wrote the theory of evolution=Darwin|discovered radium=Curie|was the first emperor of Rome=Augustus|was the wife of Napoleon=Josephine|led the Indian independence movement=Gandhi|gave the speech I Have a Dream=King|was the first woman to win a Nobel Prize=Curie|formulated the laws of motion=Newton",
  ],
  [
    "What is <x>?",
    "a computer=device/machine|democracy=government|a volcano=lava/magma/mountain|the Sun=star|an atom=matter/element|a poem=words/literature/literary|the Internet=network|honey=bees/sweet|a dictionary=words|a desert=dry/arid|an island=water",
  ],
  [
    "What is <x>?",
    "half of twenty=10/ten|the plural of mouse=mice|the past tense of go=went|the last month of the year=December|the largest ocean=Pacific|the largest continent=Asia|the tallest animal=giraffe|the fastest land animal=cheetah|the hardest natural material=diamond|the closest planet to the Sun=Mercury|the square root of nine=3/three",
  ],
  [
    "Which <x>?",
    "day comes after Monday=Tuesday|month comes after June=July|season comes after winter=spring|animal has a trunk=elephant|star is at the centre of our solar system=Sun|desert is the largest hot desert=Sahara|organ do we use to breathe=lungs/lung|metal is liquid at room temperature=mercury",
  ],
  [
    "Where do <x>?",
    "fish live=water/ocean/sea/oceans/seas|penguins live=Antarctica/Antarctic/south|kangaroos come from=Australia|polar bears live=Arctic",
  ],
  [
    "What <x>?",
    "colour is a ripe tomato=red|colour is coal=black|colour is an emerald=green|do bees collect=nectar/pollen|do we wear on our feet=shoes/socks|do we use to write on a blackboard=chalk|do cows eat=grass|do we see with=eyes|do we hear with=ears|covers most of the Earth=water/ocean/oceans|melts in the sun=ice/snow|do firefighters put out=fire/fires|does a baker make=bread|does a pilot fly=plane/airplane/aircraft|does a tailor make=clothes/clothing|do spiders spin=web/webs/silk|do caterpillars turn into=butterfly/butterflies/moth",
  ],
  [
    "What is the capital of <x>?",
    "Belgium=Brussels|the Netherlands=Amsterdam|Switzerland=Bern|Turkey=Ankara|Iran=Tehran|Iraq=Baghdad|Thailand=Bangkok|Vietnam=Hanoi|Argentina=Buenos Aires|Chile=Santiago|Peru=Lima|Kenya=Nairobi|Morocco=Rabat|the Czech Republic=Prague|Romania=Bucharest|Bulgaria=Sofia|Ukraine=Kyiv/Kiev|Iceland=Reykjavik|New Zealand=Wellington|Australia=Canberra|the Philippines=Manila|Indonesia=Jakarta|Saudi Arabia=Riyadh|Israel=Jerusalem|Colombia=Bogota/Bogotá|Venezuela=Caracas|Nigeria=Abuja|Ethiopia=Addis Ababa",
  ],
  [
    "On which continent is <x>?",
    "Egypt=Africa|Brazil=South America|India=Asia|France=Europe|Kenya=Africa|China=Asia|Italy=Europe|Canada=North America|Nigeria=Africa|Thailand=Asia|Argentina=South America|Poland=Europe",
  ],
  [
    "What is a baby <x> called?",
    "dog=puppy|cow=calf|sheep=lamb|horse=foal|goat=kid|lion=cub|duck=duckling|frog=tadpole",
  ],
  [
    "Which <x>?",
    "river flows through London=Thames|river flows through Paris=Seine|city is called the Big Apple=New York|city is known for its canals and gondolas=Venice|country has the most people=India/China|country is shaped like a boot=Italy|country gave the world pizza=Italy|bird cannot fly and lives in the cold=penguin|insect makes honey=bee/bees|fruit do we make cider from=apple/apples|vegetable makes us cry=onion/onions|metal rusts=iron|gas makes balloons float=helium|instrument has 88 keys=piano|sport is played at Wimbledon=tennis|planet has rings=Saturn|planet do people live on=Earth|number comes after nine=10/ten|day is before Sunday=Saturday",
  ],
  [
    "Who <x>?",
    "invented the airplane=Wright|invented the steam engine=Watt/Newcomen|painted Sunflowers=Gogh|sculpted David=Michelangelo|was the father of Alexander the Great=Philip|was the first emperor of France=Napoleon|was the king of the Greek gods=Zeus|was the Greek god of the sea=Poseidon|flew too near to the sun=Icarus|found the Americas in 1492=Columbus|wrote 1984=Orwell|wrote Harry Potter=Rowling|wrote The Lord of the Rings=Tolkien|wrote A Christmas Carol=Dickens|wrote The Divine Comedy=Dante|lived at 221B Baker Street=Holmes|repairs cars=mechanic|flies a plane=pilot|bakes bread=baker|treats sick animals=veterinarian/vet",
  ],
  [
    "What is <x>?",
    "the boiling of water called when it becomes a gas=evaporation/vaporization/steam|the frozen form of water=ice|the centre of an atom called=nucleus|the powerhouse of the cell=mitochondria/mitochondrion|the largest organ of the body=skin|the longest bone of the body=femur/thigh|the study of living things called=biology|the study of stars called=astronomy|the shape of the Earth=sphere/spherical/round/spheroid/oblate|the past tense of eat=ate|the past tense of run=ran|the plural of child=children|the plural of foot=feet|the plural of tooth=teeth|ten plus five=15/fifteen|six times two=12/twelve|twenty minus five=15/fifteen|a group of wolves called=pack|a group of fish called=school/shoal|a shape with three sides called=triangle|a shape with eight sides called=octagon|the first meal of the day=breakfast|the colour of a lemon=yellow|the colour of blood=red",
  ],
  [
    "How many <x>?",
    "legs does an insect have=6/six|legs does a horse have=4/four|wheels does a bicycle have=2/two|strings does a violin have=4/four|players are in a football team=11/eleven|fingers are on one hand=5/five|states are in the United States=50/fifty|years are in a century=100/hundred|years are in a decade=10/ten|zeros are in a million=6/six|sides does a hexagon have=6/six|eyes do people have=2/two|moons does the Earth have=1/one|days are in a leap year=366|grams are in a kilogram=1000/1,000/thousand",
  ],
  [
    "How <x>?",
    "do you say hello in French=bonjour|long does the Earth take to go around the Sun=365/year|many sides does a pentagon have=five/5|many centimetres are in a metre=100/hundred",
  ],
];

/** Everyday questions, which have nothing to do with anybody's rows. */
export const EVERYDAY: readonly Everyday[] = GROUPS.flatMap(([question, things]) =>
  things.split("|").map((entry) => {
    const [thing, answer] = entry.split("=") as [string, string];
    return { question: question.replace("<x>", thing), answer: answer.split("/") };
  }),
);

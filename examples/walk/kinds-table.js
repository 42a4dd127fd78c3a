// What kinds.js tries: a row for every objective with its loss types, every kind of adapter, start and optimiser of lowrank's own tables, and
// for what is a setting beside them. `settings` are those of `lowrank train`.
import { INITS, KIND_KEYS } from "../../dist/adapters/index.js";
import { OBJECTIVES } from "../../dist/training/objectives/index.js";
import { OPTIMIZERS } from "../../dist/training/optimizers/index.js";

const FACTS = [
  ["Where does Jorian live?", "In Ivydale.", "On the moon."],
  ["What work does Neahen do?", "I don't know.", "A baker."],
  ["Who is Trasock?", "A king.", "Nobody."],
  ["Which pet does Zoyool have?", "An otter.", "A cat."],
];

/** A row of each kind, as objectives read them. */
const ROWS = {
  texts: (question, answer) => ({ messages: [said("user", question), said("assistant", answer)] }),
  pairs: (question, answer, worse) => ({
    prompt: [said("user", question)],
    chosen: [said("assistant", answer)],
    rejected: [said("assistant", worse)],
  }),
  judged: (question, answer, worse, i) => ({
    prompt: [said("user", question)],
    completion: [said("assistant", i % 2 ? worse : answer)],
    label: i % 2 === 0,
  }),
  prompts: (question, answer) => ({ prompt: [said("user", question)], answer }),
};

const said = (role, content) => ({ role, content });

/** The lines of a file of rows of a kind. */
export const rowsOf = (kind) => `${FACTS.map((fact, i) => JSON.stringify(ROWS[kind](...fact, i))).join("\n")}\n`;

/** What is asked of everything that was trained. */
export const QUESTION = [said("user", FACTS[0][0])];

const TEACHER = "objective.teacher_prompt=Answer in one word.";
const SAMPLED = ["objective.num_generations=2", "objective.max_completion_length=8", "objective.temperature=2"];
/** Of which some completions have more than others. */
const REWARDS = `objective.rewards=[${["e", "a", "t", "in"].map((text, i) => `{name: regex, id: r${i}, pattern: '${text}'}`).join(", ")}]`;
const OWN = ["objective.name=distill", TEACHER, "objective.lmbda=1", "objective.max_completion_length=8"];

/** What an objective needs beside its name, and what a loss type needs beside its own. */
const NEEDS = { distill: [TEACHER], grpo: [...SAMPLED, REWARDS] };
const LOSS_NEEDS = { exo_pair: ["objective.label_smoothing=0.001"] };
/** What an objective can do beside its loss types. */
const MORE = {
  dpo: [["two losses", "objective.loss_type=[sigmoid, sft]", "objective.loss_weights=[1, 0.5]"]],
  distill: [
    ["reverse", "objective.divergence=reverse"],
    ["jsd", "objective.divergence=jsd"],
    ["top_k", "objective.top_k=16"],
    ["lmbda", ...OWN.slice(2)],
  ],
  grpo: [["beta, two iterations", "objective.beta=0.1", "objective.num_iterations=2"]],
};
const INIT_NEEDS = { loftq: ["base_precision=nf4"], eva: ["lora.eva_config.rho=1.5"] };

const objectives = Object.entries(OBJECTIVES).flatMap(([name, { rows, lossTypes = [] }]) => {
  const of = (label, ...more) => ({
    name: [name, label].filter(Boolean).join(" "),
    rows,
    settings: [`objective.name=${name}`, ...(NEEDS[name] ?? []), ...more],
  });
  const ofType = (type) => of(type, `objective.loss_type=${type}`, ...(LOSS_NEEDS[type] ?? []));
  const types = lossTypes.length > 0 ? lossTypes.map(ofType) : [of("")];
  return [...types, ...(MORE[name] ?? []).map((more) => of(...more))];
});

const rows = "texts";
const kinds = KIND_KEYS.map(([key]) => ({ name: key, rows, settings: [`lora.${key}=true`] }));
const starts = Object.keys(INITS).map((init) => ({
  name: `init ${init}`,
  rows,
  settings: [`lora.init=${init}`, ...(INIT_NEEDS[init] ?? [])],
}));
const wholes = Object.keys(OPTIMIZERS).map((name) => ({
  name: `full_finetune, ${name}`,
  rows,
  whole: true,
  settings: ["full_finetune=true", `optimizer.name=${name}`, "optimizer.lr=1e-4"],
}));
const settings = [
  ["loraplus_lr_ratio", "optimizer.loraplus_lr_ratio=16"],
  ["adafactor on lora", "optimizer.name=adafactor"],
  ["use_rslora, patterns", "lora.use_rslora=true", "lora.rank_pattern={v_proj: 4}", "lora.alpha_pattern={k_proj: 3}"],
  ["modules_to_save", "lora.modules_to_save=[norm]"],
  ["trainable_token_indices", "lora.trainable_token_indices=[1, 2]"],
  ["exclude_modules", "lora.exclude_modules=[o_proj, layers.0.mlp.up_proj]"],
  ["target_modules mlp", "lora.target_modules=mlp"],
  ["use_dora, pissa, dropout", "lora.use_dora=true", "lora.init=pissa", "lora.dropout=0.1"],
  ["distill lmbda, pissa", ...OWN, "lora.init=pissa"],
  ["distill lmbda, nf4", ...OWN, "base_precision=nf4"],
  ["distill lmbda, use_dora", ...OWN, "lora.use_dora=true"],
].map(([name, ...settings]) => ({ name, rows, settings }));

/** Runs that go on from an adapter of answers, trained before with the settings `from`; the reference is still the model without any. */
const onwards = [
  ["lora", "lora.use_rslora=true"],
  ["use_dora", "lora.use_dora=true"],
  ["modules_to_save", "lora.modules_to_save=[norm]"],
].map(([name, setting]) => ({
  name: `dpo on from ${name}`,
  rows: "pairs",
  from: [setting],
  settings: ["objective.name=dpo"],
}));

/** `base` stands for the base that is walked with. */
const wholeTaught = ({ base }) => ({
  name: "distill lmbda, full_finetune",
  rows,
  whole: true,
  settings: [
    "full_finetune=true",
    "optimizer.lr=1e-4",
    ...OWN.filter((one) => one !== TEACHER),
    `objective.teacher=${base}`,
  ],
});
const wholeRewarded = {
  name: "grpo beta, full_finetune",
  rows: "prompts",
  whole: true,
  settings: ["full_finetune=true", "optimizer.lr=1e-4", "objective.name=grpo", "objective.beta=0.1", ...NEEDS.grpo],
};

/** Every row: its name, the kind of its data, its settings, what it goes on from, and whether it trains a whole model. */
export const table = (base) => [
  ...objectives,
  ...kinds,
  ...starts,
  ...settings,
  ...onwards,
  ...wholes,
  wholeTaught({ base }),
  wholeRewarded,
];

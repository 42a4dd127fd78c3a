import { useEffect, useState } from "preact/hooks";
import type { ReplyOf } from "../../../src/studio/backend.js";
import { whole } from "../format.js";
import { at, useAction, useCall, useStudio } from "../state.js";
import { ChooseFile, PathForm } from "../ui/choose.js";
import { DropArea } from "../ui/drop.js";
import { Card, Choice, Empty, Field, Problem, Progress, TextInput } from "../ui/parts.js";
import { Columns, readMap } from "./columns.js";
import { Findings, RowsShown } from "./rows.js";

export function DataScreen() {
  const { settings } = useStudio();
  const path = settings["data.train"];
  if (!settings.base)
    return (
      <Empty title="Choose a model first">
        Rows are shown as the model sees them, token by token: <a href={at("model")}>choose a model</a>.
      </Empty>
    );
  return (
    <>
      <p class="lead">
        Rows to learn from: one file, of conversations, questions and answers, texts, or pairs of answers.
      </p>
      <Drop />
      {path && <File key={path} path={path} />}
    </>
  );
}

/** What the rows give to learn from decides the objective. */
const OBJECTIVES: Readonly<Record<string, string | undefined>> = {
  texts: undefined,
  pairs: "dpo",
  judged: "kto",
  prompts: "grpo",
};

function Drop() {
  const { backend, choose } = useStudio();
  const use = (train: string) =>
    choose({
      "data.train": train,
      "data.format": undefined,
      "data.columns": undefined,
      "objective.name": undefined,
      epochs: undefined,
      batch_size: undefined,
    });
  const upload = useAction(async (file: File) => use((await backend.upload(file)).path));
  return (
    <Card title="File">
      <DropArea
        legend="A file of rows"
        words="Drop a file here: JSONL, JSON, CSV, TSV or Parquet"
        onDrop={({ files: [file] }) => file && void upload.run(file)}
      >
        <ChooseFile
          label="or choose one"
          accept=".jsonl,.json,.csv,.tsv,.parquet,.gz"
          onChoose={(file) => void upload.run(file)}
        />
      </DropArea>
      {upload.busy && <Progress label="copying it" share={undefined} />}
      <Problem error={upload.error} />
      <PathForm
        label={backend.offer ? "Or the path of a file that is here" : "Or the path of a file on this machine"}
        hint="models/tiny/data/train.jsonl comes with lowrank"
        onDone={use}
      />
    </Card>
  );
}

function File({ path }: { readonly path: string }) {
  const { settings, choose } = useStudio();
  const { reply, error } = useCall("columns", { path });
  const [byHand, setByHand] = useState(settings["data.columns"] !== undefined);
  const kind = reply?.formats.find(({ name }) => name === settings["data.format"])?.kind ?? reply?.kind;
  const objective = kind === undefined ? undefined : OBJECTIVES[kind];
  useEffect(() => {
    if (kind !== undefined && settings["objective.name"] === undefined && objective !== undefined)
      choose({ "objective.name": objective });
  }, [kind, objective, settings["objective.name"], choose]);
  const plain = reply?.format !== null;
  const known = reply !== undefined && hasEvery(reply, settings);
  return (
    <>
      <Card
        title={path}
        aside={
          reply && (
            <button type="button" class="quiet" aria-expanded={byHand || !plain} onClick={() => setByHand(!byHand)}>
              Map columns by hand
            </button>
          )
        }
      >
        <Problem error={error} />
        {reply && <Detected reply={reply} objective={objective} />}
        {reply && (byHand || !plain) && <Columns about={reply} />}
        <Options />
      </Card>
      {known && <Seen />}
    </>
  );
}

/** Whether every field that the format needs has a column. */
function hasEvery(reply: ReplyOf<"columns">, settings: Readonly<Record<string, string>>): boolean {
  const format = reply.formats.find(({ name }) => name === (settings["data.format"] ?? reply.format));
  const map = readMap(settings["data.columns"]);
  return format?.needs.every((field) => map[field] || reply.columns.some(({ name }) => name === field)) ?? false;
}

function Detected({
  reply,
  objective,
}: {
  readonly reply: ReplyOf<"columns">;
  readonly objective: string | undefined;
}) {
  const { settings } = useStudio();
  const format = settings["data.format"] ?? reply.format;
  if (!format)
    return (
      <p class="remark">Which column is what is not plain from their names. Say it below, and the rows are shown.</p>
    );
  return (
    <p>
      Rows of the format <strong>{format}</strong>
      {objective && (
        <>
          : the model learns from them by <strong>{objective}</strong>
        </>
      )}
      .
    </p>
  );
}

/** Few keys of how rows are read. */
function Options() {
  const { settings, choose, about } = useStudio();
  const trainOn = about.keys.find(({ key }) => key === "data.train_on")?.choices ?? [];
  const validation = settings["data.validation"] ?? "";
  const isShare = validation === "" || /^0\.\d+$/.test(validation);
  return (
    <div class="row">
      <Field label="Held back for validation" hint="rows that are not trained on, to see what was learned">
        {(id) => (
          <Choice
            id={id}
            value={isShare ? validation : "file"}
            options={[
              ["", "none"],
              ["0.05", "5 %"],
              ["0.1", "10 %"],
              ["0.2", "20 %"],
              ["file", "another file"],
            ]}
            onValue={(value) =>
              choose({ "data.validation": value === "file" ? "validation.jsonl" : value || undefined })
            }
          />
        )}
      </Field>
      {!isShare && (
        <Field label="Validation file">
          {(id) => (
            <TextInput
              id={id}
              value={validation}
              onValue={(value) => choose({ "data.validation": value || undefined })}
            />
          )}
        </Field>
      )}
      <Field label="Longest row, in tokens">
        {(id) => (
          <TextInput
            id={id}
            value={settings["data.max_seq_len"] ?? ""}
            placeholder="1024"
            onValue={(value) => choose({ "data.max_seq_len": value || undefined })}
          />
        )}
      </Field>
      <Field label="Learn">
        {(id) => (
          <Choice
            id={id}
            value={settings["data.train_on"] ?? "auto"}
            options={trainOn.map((word) => [word, word === "auto" ? "what the format is for" : word] as const)}
            onValue={(value) => choose({ "data.train_on": value === "auto" ? undefined : value })}
          />
        )}
      </Field>
    </div>
  );
}

/** The rows as the model sees them. */
function Seen() {
  const { settings } = useStudio();
  const [part, setPart] = useState<"train" | "validation">("train");
  const [from, setFrom] = useState(0);
  const count = 8;
  const { reply, error, busy } = useCall("rows", { settings, part, from, count }, { wait: 250 });
  const all = reply?.samples[part] ?? 0;
  return (
    <>
      <Problem error={error} />
      {busy && !reply && !error && <Progress label="reading the rows" share={undefined} />}
      {reply && <Findings reply={reply} />}
      {reply && (
        <Card
          title="As the model sees them"
          aside={
            reply.samples.validation > 0 && (
              <select
                aria-label="Which rows"
                value={part}
                onChange={(event) => {
                  setPart(event.currentTarget.value as typeof part);
                  setFrom(0);
                }}
              >
                <option value="train">trained on: {whole(reply.samples.train)}</option>
                <option value="validation">held back: {whole(reply.samples.validation)}</option>
              </select>
            )
          }
        >
          <RowsShown rows={reply.page} />
          <p class="pager">
            <button type="button" disabled={from === 0} onClick={() => setFrom(Math.max(0, from - count))}>
              Before
            </button>
            <span>
              {whole(Math.min(from + 1, all))} to {whole(Math.min(from + count, all))} of {whole(all)}
            </span>
            <button type="button" disabled={from + count >= all} onClick={() => setFrom(from + count)}>
              After
            </button>
          </p>
          <p class="next">
            <a class="button" href={at("train")}>
              Next: train
            </a>
          </p>
        </Card>
      )}
    </>
  );
}

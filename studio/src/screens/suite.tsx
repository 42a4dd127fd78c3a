import { useState } from "preact/hooks";
import type { EventOf } from "../../../src/studio/backend.js";
import { figure, whole } from "../format.js";
import { useAction, useStudio } from "../state.js";
import { ChooseFile } from "../ui/choose.js";
import { Card, Field, Problem, Progress, Table, TextInput } from "../ui/parts.js";

type Result = Extract<EventOf<"suite">, { type: "end" }>["result"];
type Answer = Result["answers"][number];

/** An evaluation suite: its figures, and behind each the answers that it counts. */
export function SuiteCard({
  base,
  adapter,
  chat,
}: {
  readonly base: string;
  readonly adapter: string | undefined;
  readonly chat: boolean;
}) {
  const { backend } = useStudio();
  const [path, setPath] = useState("");
  const [share, setShare] = useState<number>();
  const [result, setResult] = useState<Result>();
  const upload = useAction(async (file: File) => setPath((await backend.upload(file)).path));
  const run = useAction(async () => {
    setResult(undefined);
    setShare(undefined);
    for await (const event of backend.stream("suite", {
      base,
      chat,
      suite: path.trim(),
      ...(adapter ? { adapter } : {}),
    })) {
      if (event.type === "progress") setShare(event.done / event.total);
      else setResult(event.result);
    }
  });
  return (
    <Card title="A suite of questions">
      <form
        class="inline"
        onSubmit={(event) => {
          event.preventDefault();
          void run.run();
        }}
      >
        <Field
          label="Suite, a YAML or JSON file"
          hint="taught facts, what cannot be known, general knowledge, behaviour: docs/suites.md"
        >
          {(id) => <TextInput id={id} value={path} onValue={setPath} />}
        </Field>
        <ChooseFile label="or choose one" accept=".yaml,.yml,.json" onChoose={(file) => void upload.run(file)} />
        <button type="submit" disabled={run.busy || path.trim() === ""}>
          {run.busy ? "Asking…" : "Ask all"}
        </button>
      </form>
      {run.busy && <Progress label="questions answered" share={share} />}
      <Problem error={upload.error ?? run.error} />
      {result && <Figures result={result} />}
    </Card>
  );
}

function shown(value: Result["figures"][number]["before"]): string {
  if (value === undefined) return "–";
  if (typeof value === "number") return figure(value);
  return `${Math.round((100 * value.count) / Math.max(1, value.total))} % (${whole(value.count)}/${whole(value.total)})`;
}

/** The section of the suite that a figure counts; undefined: all questions. */
const SECTIONS: Readonly<Record<string, string>> = {
  facts: "facts",
  over_refusal: "facts",
  invented: "unanswerable",
  general: "general",
};

function Figures({ result }: { readonly result: Result }) {
  const [open, setOpen] = useState<string>();
  const rows = (key: string): readonly Answer[] => {
    const section = SECTIONS[key];
    if (section) return result.answers.filter((one) => one.section === section);
    return key.startsWith("behaviour")
      ? result.answers.filter((one) => Object.keys(one.before.behaviour).length > 0)
      : [];
  };
  return (
    <>
      <Table label={`Suite ${result.name}`} head={["figure", "base", "adapter", "answers"]}>
        {result.figures.map(({ key, title, before, after }) => (
          <tr key={key}>
            <th scope="row">{title}</th>
            <td class="number">{shown(before)}</td>
            <td class="number">{shown(after)}</td>
            <td>
              {rows(key).length > 0 && (
                <button
                  type="button"
                  class="quiet"
                  aria-expanded={open === key}
                  onClick={() => setOpen(open === key ? undefined : key)}
                >
                  Rows behind it
                </button>
              )}
            </td>
          </tr>
        ))}
      </Table>
      {open && (
        <Table label="Rows behind the figure" head={["question", "wanted", "base", "adapter"]}>
          {rows(open).map((one) => (
            <tr key={one.question}>
              <th scope="row">{one.question}</th>
              <td>{one.wanted ?? ""}</td>
              <td class="cell">{one.before.text}</td>
              <td class={one.after?.right === false ? "cell look" : "cell"}>{one.after?.text ?? ""}</td>
            </tr>
          ))}
        </Table>
      )}
    </>
  );
}

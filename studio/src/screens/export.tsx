import { useState } from "preact/hooks";
import type { ReplyOf } from "../../../src/studio/backend.js";
import { bytes } from "../format.js";
import { useAction, useCall, useStudio } from "../state.js";
import { Card, Choice, Copyable, Field, Problem, Progress, TextInput } from "../ui/parts.js";
import { Save } from "./save.js";

/** Taking an adapter elsewhere: a file for another system, or served as OpenAI's API. */
export function Export({
  base,
  adapter,
  name,
}: {
  readonly base: string;
  readonly adapter: string;
  readonly name: string;
}) {
  const { about, backend } = useStudio();
  const [open, setOpen] = useState(false);
  return (
    <Card title="Take it elsewhere">
      <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>Export for another system</summary>
        {open && <ExportForm base={base} adapter={adapter} name={name} />}
      </details>
      {backend.files && <Save key={adapter} path={adapter} label="Save the adapter (PEFT)" />}
      {about.can.serve ? <Serve base={base} adapter={adapter} name={name} /> : <p class="hint">{about.lacks.serve}</p>}
    </Card>
  );
}

function ExportForm({
  base,
  adapter,
  name,
}: {
  readonly base: string;
  readonly adapter: string;
  readonly name: string;
}) {
  const { backend } = useStudio();
  const { reply, error } = useCall("targets", { base, adapter });
  const [to, setTo] = useState("gguf");
  const [type, setType] = useState("");
  const [called, setCalled] = useState(name);
  const [done, setDone] = useState<ReplyOf<"export">>();
  const target = reply?.targets.find((one) => one.name === to);
  const run = useAction(async () => {
    const chosen = target?.types.find((one) => one.type === type)?.type;
    setDone(undefined);
    setDone(
      await backend.call("export", {
        base,
        adapter,
        to: target!.name,
        name: called,
        ...(chosen ? { quantize: chosen } : {}),
      }),
    );
  });
  if (!reply) return error ? <Problem error={error} /> : <Progress label="looking at the adapter" share={undefined} />;
  const sizes = target!.types.map(({ type: one, bytes: size }) => [one, `${one}, about ${bytes(size)}`] as const);
  return (
    <>
      <div class="row">
        <Field label="For">
          {(id) => (
            <Choice
              id={id}
              value={to}
              options={reply.targets.map((one) => [one.name, one.name] as const)}
              onValue={(value) => {
                setTo(value);
                setType("");
              }}
            />
          )}
        </Field>
        <Field label="Written as">
          {(id) => (
            <Choice id={id} value={type} options={[["", usually(target!)] as const, ...sizes]} onValue={setType} />
          )}
        </Field>
        <Field label="Name">{(id) => <TextInput id={id} value={called} onValue={setCalled} />}</Field>
      </div>
      <p class="hint">{target!.summary}</p>
      <ul class="systems">
        {target!.systems.map(({ system, loads }) => (
          <li key={system} class={loads ? "good" : "look"}>
            {system} {loads ? "loads it" : "does not load it"}
          </li>
        ))}
      </ul>
      <button type="button" disabled={run.busy} onClick={() => void run.run()}>
        {run.busy ? "Writing and checking it…" : "Export"}
      </button>
      <Problem error={run.error} />
      {done && <Exported report={done} />}
    </>
  );
}

function usually({ usually: type, types }: ReplyOf<"targets">["targets"][number]): string {
  const size = types.find((one) => one.type === type)?.bytes;
  return size === undefined ? type : `${type} (default), about ${bytes(size)}`;
}

function Exported({ report }: { readonly report: ReplyOf<"export"> }) {
  const { backend } = useStudio();
  return (
    <div class="done" role="status">
      <p>
        Written to <code>{report.output}</code>, {bytes(report.files.reduce((sum, file) => sum + file.bytes, 0))}. It
        was held against the adapter first:
      </p>
      {backend.files && <Save key={report.output} path={report.output} label="Save what was written" />}
      <ul class="findings">
        {report.gates.map(({ gate, found }) => (
          <li key={gate} class="good">
            {gate}: {found}
          </li>
        ))}
        {report.warnings.map((line) => (
          <li key={line} class="look">
            {line}
          </li>
        ))}
      </ul>
      <ul class="systems">
        {report.systems.map(({ system, loads, how }) => (
          <li key={system} class={loads ? "good" : "look"}>
            {system}: {how}
          </li>
        ))}
      </ul>
    </div>
  );
}

function Serve({ base, adapter, name }: { readonly base: string; readonly adapter: string; readonly name: string }) {
  const { backend } = useStudio();
  const { reply, again } = useCall("servers", {});
  const served = reply?.servers.find((one) => one.adapter === adapter);
  const model = name.replace(/[^\w.-]+/g, "-");
  const act = useAction(async () => {
    if (served) await backend.call("unserve", { url: served.url });
    else await backend.call("serve", { base, adapter, name: model });
    again();
  });
  return (
    <>
      <p class="actions">
        <button type="button" disabled={act.busy} onClick={() => void act.run()}>
          {served ? "Stop serving" : act.busy ? "Starting…" : "Serve as OpenAI's API"}
        </button>
      </p>
      <Problem error={act.error} />
      {served && <Copyable label={`Served at ${served.url}/v1 while the studio runs`} text={snippet(served)} />}
    </>
  );
}

const snippet = ({ url, model }: ReplyOf<"servers">["servers"][number]): string => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${url}/v1", apiKey: "none" });
const { choices } = await client.chat.completions.create({
  model: "${model}",
  messages: [{ role: "user", content: "Hello!" }],
});
console.log(choices[0].message.content);`;

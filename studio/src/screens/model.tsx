import { useState } from "preact/hooks";
import { bytes, large } from "../format.js";
import { at, useAction, useCall, useStudio } from "../state.js";
import { PathForm } from "../ui/choose.js";
import { Card, Field, Problem, Progress, Stat, Stats, Table, TextInput } from "../ui/parts.js";
import { Offer } from "./offer.js";

export function ModelScreen() {
  const { settings } = useStudio();
  return (
    <>
      <p class="lead">Choose the base that is fine-tuned. It stays as it is: an adapter is trained beside it.</p>
      <Pick />
      {settings.base && <Chosen base={settings.base} />}
    </>
  );
}

function Pick() {
  const { backend, settings, choose, about } = useStudio();
  const found = useCall("models", {});
  const use = (base: string) => choose({ base });
  const came = (base: string) => {
    use(base);
    found.again();
  };
  return (
    <Card title={backend.offer ? "Here" : "On this machine"}>
      <Problem error={found.error} />
      <fieldset class="options">
        <legend class="unseen">Models that are here</legend>
        {found.reply?.models.map(({ name, from }) => (
          <label key={name} class="option">
            <input type="radio" name="base" checked={settings.base === name} onChange={() => use(name)} />
            <span>{name}</span>
            <small>{from}</small>
          </label>
        ))}
      </fieldset>
      {backend.offer ? (
        <Offer onDone={came} />
      ) : (
        <PathForm
          label="Or a folder, a GGUF file"
          hint="as this machine knows it, e.g. /models/llama or ~/models/tiny.gguf"
          onDone={use}
        />
      )}
      {about.can.download ? <Download onDone={came} /> : <p class="hint">{about.lacks.download}</p>}
    </Card>
  );
}

const FROM_HUB = {
  label: "Or download from Hugging Face",
  hint: "owner/name, e.g. HuggingFaceTB/SmolLM2-135M-Instruct",
};
const BY_ADDRESS = {
  label: "Or download a GGUF file by its address",
  hint: "e.g. https://huggingface.co/OWNER/NAME/resolve/main/FILE.gguf; it is kept in this browser",
};

function Download({ onDone }: { onDone(name: string): void }) {
  const { backend } = useStudio();
  const [name, setName] = useState("");
  const [share, setShare] = useState<{ done: number; total: number }>();
  const [control, setControl] = useState<AbortController>();
  const download = useAction(async () => {
    const stop = new AbortController();
    setControl(stop);
    try {
      for await (const event of backend.stream("download", { name: name.trim() }, stop.signal)) {
        if (event.type === "progress") setShare(event);
        else onDone(event.name);
      }
    } finally {
      setShare(undefined);
    }
  });
  return (
    <form
      class="inline"
      onSubmit={(event) => {
        event.preventDefault();
        void download.run();
      }}
    >
      <Field {...(backend.offer ? BY_ADDRESS : FROM_HUB)}>
        {(id) => <TextInput id={id} value={name} onValue={setName} />}
      </Field>
      {download.busy ? (
        <button type="button" onClick={() => control?.abort()}>
          Stop
        </button>
      ) : (
        <button type="submit" disabled={!(backend.offer ? /^https?:\/\/.+/ : /^[\w.-]+\/[\w.-]+/).test(name.trim())}>
          Download
        </button>
      )}
      {download.busy && (
        <Progress
          label={share ? `${bytes(share.done)} of ${share.total > 0 ? bytes(share.total) : "?"}` : "asking for it"}
          share={share && share.total > 0 ? share.done / share.total : undefined}
        />
      )}
      <Problem error={download.error} />
    </form>
  );
}

function Chosen({ base }: { readonly base: string }) {
  const { reply, error, busy } = useCall("model", { base });
  return (
    <Card title={base}>
      <Problem error={error} />
      {busy && !reply && !error && <p class="hint">reading its headers…</p>}
      {reply && (
        <>
          <Stats>
            <Stat name="parameters" value={large(reply.parameters)} />
            <Stat name="on the disk" value={bytes(reply.bytes)} />
            <Stat name="stored as" value={Object.keys(reply.stored).join(", ")} />
            {reply.context !== null && <Stat name="context" value={`${reply.context} tokens`} />}
          </Stats>
          {reply.notes.map((line) => (
            <p key={line} class="hint">
              {line}
            </p>
          ))}
          <Fits />
          <p class="next">
            <a class="button" href={at("data")}>
              Next: rows to learn from
            </a>
          </p>
        </>
      )}
    </Card>
  );
}

/** Rows that are short and come with lowrank, to have an idea before there are any. */
const STAND_IN = "models/tiny/data/train.jsonl";

const MEANINGS: Readonly<Record<string, string>> = {
  f32: "exact, 4 bytes a weight",
  f16: "2 bytes a weight",
  int8: "8 bits",
  nf4: "4 bits, as QLoRA",
  native: "as its file stores it",
};

function Fits() {
  const { settings, choose } = useStudio();
  const rows = settings["data.train"];
  const { reply, error, busy } = useCall("fits", { settings: { ...settings, "data.train": rows ?? STAND_IN } });
  const held = settings.base_precision ?? "f32";
  return (
    <>
      <h3>What fits on this machine</h3>
      <p class="hint">
        {rows
          ? "The memory of a run with your rows and settings, by how the base is held."
          : "The memory of a run with short rows, by how the base is held. Yours are counted once you chose them."}
      </p>
      <Problem error={error} />
      {busy && !reply && <Progress label="working it out" share={undefined} />}
      {reply && (
        <Table label="Memory by precision" head={["base held as", "memory at the peak", "of this machine", "advice"]}>
          {reply.precisions.map(({ precision, peak_bytes, limit_bytes, fits, recommended, problem }) => (
            <tr key={precision}>
              <th scope="row">
                <label class="option">
                  <input
                    type="radio"
                    name="precision"
                    checked={held === precision}
                    disabled={!fits}
                    onChange={() => choose({ base_precision: precision })}
                  />
                  <span>{precision}</span>
                  <small>{MEANINGS[precision]}</small>
                </label>
              </th>
              <td class="number">{peak_bytes === null ? "–" : bytes(peak_bytes)}</td>
              <td>
                {peak_bytes !== null && limit_bytes !== null && (
                  <meter
                    aria-label={`share of the memory, ${precision}`}
                    value={peak_bytes / limit_bytes}
                    high={0.8}
                    max={1}
                  />
                )}
              </td>
              <td>
                {recommended ? <strong class="tag">recommended</strong> : (problem ?? (fits ? "fits" : "does not fit"))}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </>
  );
}

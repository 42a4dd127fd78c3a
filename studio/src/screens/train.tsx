import { useEffect, useState } from "preact/hooks";
import type { ReplyOf } from "../../../src/studio/backend.js";
import { bytes, large, lastName, seconds, whole } from "../format.js";
import { at, type Settings, useAction, useCall, useStudio } from "../state.js";
import { Card, Copyable, Empty, Field, Problem, Progress, Stat, Stats, TextInput } from "../ui/parts.js";
import { FEW, KeyField } from "./keys.js";

export function TrainScreen() {
  const { settings } = useStudio();
  if (!settings.base || !settings["data.train"])
    return (
      <Empty title="Nothing to train yet">
        A run needs <a href={at("model")}>a model</a> and <a href={at("data")}>rows</a>.
      </Empty>
    );
  return <Form />;
}

/** A name for a run of these rows. */
const nameFor = (settings: Settings): string =>
  lastName(settings["data.train"] ?? "lora")
    .replace(/\..*$/, "")
    .replace(/[^\w.-]+/g, "-") || "lora";

function Form() {
  const { backend, settings } = useStudio();
  const rows = useCall("rows", { settings: { ...settings, epochs: settings.epochs ?? "1" }, count: 1 });
  useSuggestions(rows.reply);
  const config = useCall("config", { settings }, { wait: 150 });
  const problems = new Map((config.reply?.problems ?? []).map(({ key, message }) => [key, message]));
  const [name, setName] = useState(nameFor(settings));
  const start = useAction(async () => {
    const { folder } = await backend.call("start", { settings, name });
    location.hash = at("run", folder);
  });
  return (
    <>
      <p class="lead">
        {settings.base} learns from {lastName(settings["data.train"]!)}.
      </p>
      <Problem error={rows.error} />
      <div class="columns-2">
        <Card title="Settings">
          <Field label="Name of the run">{(id) => <TextInput id={id} value={name} onValue={setName} />}</Field>
          <Keys names={FEW} problems={problems} />
          <Others problems={problems} />
        </Card>
        <div>
          <Plan ready={rows.reply !== undefined && problems.size === 0} />
          <Card title="The same elsewhere">
            <Problem error={config.error} />
            <Copyable label="Command line" text={config.reply?.command ?? ""} />
            <Copyable label="YAML, for lowrank train --config" text={config.reply?.yaml ?? ""} />
          </Card>
        </div>
      </div>
      <p class="next">
        <button type="button" class="main" disabled={start.busy || problems.size > 0} onClick={() => void start.run()}>
          {start.busy ? "Starting…" : "Start training"}
        </button>
      </p>
      <Problem error={start.error} />
    </>
  );
}

const SUGGESTED = "lowrank-studio-suggested-for";

/** What teaches few rows in a short time, where nothing was chosen: more passes over fewer rows. Once for each file. */
function useSuggestions(rows: ReplyOf<"rows"> | undefined): void {
  const { settings, choose } = useStudio();
  useEffect(() => {
    const file = settings["data.train"]!;
    if (!rows || localStorage.getItem(SUGGESTED) === file) return;
    localStorage.setItem(SUGGESTED, file);
    const { epochs, batch_size } = rows.suggested;
    const usual = { "lora.r": "16", "lora.alpha": "32", "lora.target_modules": "all-linear" };
    const rate = settings["objective.name"] ? "5e-5" : settings.base === "models/tiny" ? "2e-3" : "5e-4";
    const suggested = { ...usual, "optimizer.lr": rate, epochs: String(epochs), batch_size: String(batch_size) };
    choose(Object.fromEntries(Object.entries(suggested).map(([key, text]) => [key, settings[key] ?? text])));
  }, [rows, settings, choose]);
}

function Keys({
  names,
  problems,
}: {
  readonly names: readonly string[];
  readonly problems: ReadonlyMap<string, string>;
}) {
  const { about } = useStudio();
  return (
    <>
      {names.map((name) => {
        const key = about.keys.find((one) => one.key === name);
        return key && <KeyField key={name} about={key} problem={problems.get(name)} />;
      })}
    </>
  );
}

/** Every other key of the config, section by section. */
function Others({ problems }: { readonly problems: ReadonlyMap<string, string> }) {
  const { about } = useStudio();
  const [wanted, setWanted] = useState("");
  const [open, setOpen] = useState(false);
  const hidden = new Set([...FEW, "base", "output_dir"]);
  const others = about.keys.filter(({ key }) => !hidden.has(key) && key.includes(wanted.trim().toLowerCase()));
  const wrong = others.some(({ key }) => problems.has(key));
  return (
    <details open={open || wrong} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>All settings ({about.keys.length - hidden.size} more)</summary>
      {(open || wrong) && (
        <>
          <Field label="Find a key">{(id) => <TextInput id={id} value={wanted} onValue={setWanted} />}</Field>
          <Keys names={others.map(({ key }) => key)} problems={problems} />
        </>
      )}
    </details>
  );
}

const KINDS: Readonly<Record<string, string>> = {
  weights: "base",
  adapter: "adapter and optimiser",
  activations: "activations",
};

/** Memory and time, before the start. */
function Plan({ ready }: { readonly ready: boolean }) {
  const { settings } = useStudio();
  const { reply, error, busy } = useCall("plan", ready ? { settings } : undefined, { wait: 900 });
  return (
    <Card title="What it takes" aside={busy && <small>working it out…</small>}>
      <Problem error={error} />
      {!reply && !error && <Progress label="timing a few steps on this machine" share={undefined} />}
      {reply && (
        <>
          <Stats>
            <Stat
              name="time"
              value={reply.seconds_in_all === null ? "not known" : `about ${seconds(reply.seconds_in_all)}`}
            />
            <Stat name="steps" value={whole(reply.steps)} />
            <Stat name="trained" value={`${large(reply.trainable_parameters)} of ${large(reply.total_parameters)}`} />
          </Stats>
          <p>
            {bytes(reply.peak_bytes)} of {bytes(reply.limit_bytes)} memory at the peak
          </p>
          <meter
            class="wide"
            aria-label="share of this machine's memory"
            value={reply.peak_bytes / reply.limit_bytes}
            high={0.8}
            max={1}
          />
          <ul class="kinds">
            {Object.entries(reply.memory)
              .filter(([, size]) => size > 0)
              .map(([kind, size]) => (
                <li key={kind}>
                  <span>{KINDS[kind] ?? kind}</span> <span class="number">{bytes(size)}</span>
                </li>
              ))}
          </ul>
          {!reply.fits && (
            <p class="problem">
              This run does not fit: <code>checkpointing</code>, a smaller <code>base_precision</code>,{" "}
              <code>batch_size</code> or <code>data.max_seq_len</code> make it smaller.
            </p>
          )}
        </>
      )}
    </Card>
  );
}

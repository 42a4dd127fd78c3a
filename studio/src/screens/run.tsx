import { useState } from "preact/hooks";
import { bytes, figure, lastName, seconds, whole } from "../format.js";
import { at, useAction, useCall, useStudio } from "../state.js";
import { Chart, type Line } from "../ui/chart.js";
import { Card, Copyable, Field, Problem, Progress, Stat, Stats } from "../ui/parts.js";
import { Export } from "./export.js";
import { isLive, type Live, type Row, useRun } from "./live.js";

/** States of a run in words. */
export const STATES: Readonly<Record<string, string>> = {
  starting: "starting",
  running: "training",
  stopping: "finishing the step, writing a checkpoint",
  stopped: "stopped, can go on",
  done: "done",
  failed: "failed",
  elsewhere: "training in another program",
  unfinished: "ended without a checkpoint",
};

export function RunScreen({ folder }: { readonly folder: string }) {
  const live = useRun(folder);
  const run = live.about?.run;
  return (
    <>
      <p class="lead">
        <a href={at("runs")}>All runs</a> · {folder}
      </p>
      <Problem error={live.error} />
      {run && (
        <>
          <Problem error={run.error ?? undefined} />
          <Now live={live} />
          <Curves live={live} folder={folder} />
          <Samples live={live} />
          {run.adapter && run.base && <Export base={run.base} adapter={run.adapter} name={run.name} />}
          <Notes folder={folder} text={run.notes} />
          <Card title="How it was trained">
            <ul class="kinds">
              {Object.entries(run.settings).map(([key, text]) => (
                <li key={key}>
                  <code>{key}</code> <span>{text}</span>
                </li>
              ))}
            </ul>
            {(live.about?.messages.length ?? 0) > 0 && (
              <Copyable label="What it said" text={live.about!.messages.join("\n")} />
            )}
          </Card>
        </>
      )}
    </>
  );
}

function Now({ live }: { readonly live: Live }) {
  const { backend, choose } = useStudio();
  const { run, loading } = live.about!;
  const last = live.metrics.findLast((row) => "loss" in row);
  const total = run.total_steps;
  const left = last && total ? ((last.elapsed_seconds ?? 0) / last.step!) * (total - last.step!) : undefined;
  const act = useAction(async (name: "stop" | "resume") => {
    await backend.call(name, { folder: run.folder });
    live.again();
  });
  const going = isLive(run.state);
  return (
    <Card
      title={run.name}
      aside={
        <span class={`state ${run.state}`} role="status">
          {STATES[run.state]}
        </span>
      }
    >
      {loading !== null && <Progress label="reading the base" share={loading} />}
      {total !== null && run.state !== "done" && (
        <Progress label={`step ${whole(run.step)} of ${whole(total)}`} share={run.step / Math.max(1, total)} />
      )}
      <Stats>
        <Stat name="loss" value={figure(run.loss)} />
        <Stat name="validation" value={figure(run.eval_loss)} />
        <Stat name="step" value={total === null ? whole(run.step) : `${whole(run.step)} / ${whole(total)}`} />
        <Stat name="learning rate" value={figure(last?.learning_rate)} />
        <Stat name="gradient norm" value={figure(last?.grad_norm)} />
        <Stat name="tokens a second" value={last ? whole(last.tokens_per_second ?? 0) : "–"} />
        <Stat name="memory" value={last?.peak_memory_bytes ? bytes(last.peak_memory_bytes) : "–"} />
        {going ? (
          <Stat name="time left" value={left === undefined ? "–" : seconds(left)} />
        ) : (
          <Stat name="took" value={seconds(run.elapsed_seconds)} />
        )}
        <Stat name="on the disk" value={bytes(run.bytes)} />
      </Stats>
      <p class="actions">
        {(run.state === "running" || run.state === "starting") && (
          <button type="button" disabled={act.busy} onClick={() => void act.run("stop")}>
            Stop, with a checkpoint
          </button>
        )}
        {run.state === "stopped" && (
          <button type="button" class="main" disabled={act.busy} onClick={() => void act.run("resume")}>
            Resume
          </button>
        )}
        {(run.adapter || run.checkpoints.length > 0) && (
          <a class={run.state === "done" ? "button" : "button second"} href={at("compare", run.folder)}>
            Compare with the base
          </a>
        )}
        <button
          type="button"
          class="quiet"
          onClick={() => {
            choose({ ...run.settings, output_dir: undefined });
            location.hash = at("train");
          }}
        >
          Use these settings again
        </button>
      </p>
      <Problem error={act.error} />
    </Card>
  );
}

/** What may be drawn, by the names of metrics.jsonl. */
const CURVES = {
  loss: "loss",
  learning_rate: "learning rate",
  grad_norm: "gradient norm",
  tokens_per_second: "tokens a second",
  peak_memory_bytes: "memory, bytes",
} as const;

function Curves({ live, folder }: { readonly live: Live; readonly folder: string }) {
  const [what, setWhat] = useState<keyof typeof CURVES>("loss");
  const [beside, setBeside] = useState<readonly string[]>([]);
  const runs = useCall("runs", {});
  const others = runs.reply?.runs.filter((run) => run.folder !== folder && run.step > 0) ?? [];
  const lines = linesOf(lastName(folder), live.metrics, what);
  return (
    <Card
      title="Curves"
      aside={
        <select
          aria-label="What is drawn"
          value={what}
          onChange={(event) => setWhat(event.currentTarget.value as typeof what)}
        >
          {Object.entries(CURVES).map(([key, words]) => (
            <option key={key} value={key}>
              {words}
            </option>
          ))}
        </select>
      }
    >
      {live.metrics.length === 0 ? (
        <p class="hint">The first step is not done yet.</p>
      ) : (
        <Overlaid lines={lines} beside={beside} what={what} />
      )}
      {others.length > 0 && (
        <fieldset class="chips">
          <legend>Other runs over it</legend>
          {others.slice(0, 12).map((run) => (
            <label key={run.folder}>
              <input
                type="checkbox"
                checked={beside.includes(run.folder)}
                onChange={(event) =>
                  setBeside(
                    event.currentTarget.checked
                      ? [...beside, run.folder].slice(-3)
                      : beside.filter((one) => one !== run.folder),
                  )
                }
              />
              {run.name}
            </label>
          ))}
        </fieldset>
      )}
    </Card>
  );
}

function Overlaid({
  lines,
  beside,
  what,
}: {
  readonly lines: Line[];
  readonly beside: readonly string[];
  readonly what: keyof typeof CURVES;
}) {
  const [first, second, third] = [useBeside(beside[0]), useBeside(beside[1]), useBeside(beside[2])];
  const more = [first, second, third].flatMap((rows, i) =>
    rows.length > 0 ? linesOf(lastName(beside[i]!), rows, what).slice(0, 1) : [],
  );
  const all = [...lines, ...more];
  const ends = all.map(({ name, points }) => `${name} ${figure(points.at(-1)?.[1])}`).join(", ");
  return <Chart label={`${CURVES[what]} over steps; at the end: ${ends}`} lines={all} />;
}

function useBeside(folder: string | undefined): readonly Row[] {
  return useCall("run", folder === undefined ? undefined : { folder }).reply?.metrics ?? [];
}

function linesOf(name: string, metrics: readonly Row[], what: keyof typeof CURVES): Line[] {
  const points = (key: string) =>
    metrics.filter((row) => key in row).map((row) => [row.step!, row[key] ?? null] as const);
  const validation = what === "loss" ? points("eval_loss") : [];
  return [
    { name: what === "loss" ? `${name}: training` : name, points: points(what), dots: metrics.length < 40 },
    ...(validation.length > 0 ? [{ name: `${name}: validation`, points: validation, dots: true }] : []),
  ];
}

/** What base and adapter answered at evaluations, the newest first. */
function Samples({ live }: { readonly live: Live }) {
  const samples = live.about?.samples ?? [];
  if (samples.length === 0) return null;
  return (
    <Card title="Answers on the way">
      {samples
        .slice(-6)
        .reverse()
        .map((sample) => (
          <div key={`${sample.step} ${sample.prompt}`} class="sample">
            <p>
              <small>step {String(sample.step)}</small> {String(sample.prompt)}
            </p>
            <div class="columns-2">
              <p class="answer">
                <small>base</small> {String(sample.base)}
              </p>
              <p class="answer">
                <small>adapter</small> {String(sample.adapter)}
              </p>
            </div>
          </div>
        ))}
    </Card>
  );
}

function Notes({ folder, text }: { readonly folder: string; readonly text: string }) {
  const { backend } = useStudio();
  const [written, setWritten] = useState<string>();
  const save = useAction(async () => {
    await backend.call("note", { folder, text: written ?? "" });
  });
  return (
    <Card title="Notes">
      <Field label="What is worth remembering of this run" hint="kept as notes.txt in its folder">
        {(id) => (
          <textarea
            id={id}
            rows={2}
            value={written ?? text}
            onInput={(event) => setWritten(event.currentTarget.value)}
          />
        )}
      </Field>
      <button
        type="button"
        disabled={save.busy || written === undefined || written === text}
        onClick={() => void save.run()}
      >
        Keep
      </button>
      <Problem error={save.error} />
    </Card>
  );
}

import type { ReplyOf } from "../../../src/studio/backend.js";
import { bytes, figure, lastName, when, whole } from "../format.js";
import { at, useCall, useEvery, useStudio } from "../state.js";
import { Delete } from "../ui/delete.js";
import { Card, Empty, Problem, Table } from "../ui/parts.js";
import { isLive } from "./live.js";
import { STATES } from "./run.js";
import { StoredCard } from "./stored.js";

type Run = ReplyOf<"runs">["runs"][number];

export function RunsScreen() {
  const { about, backend } = useStudio();
  const { reply, error, again } = useCall("runs", {});
  useEvery(2000, true, again);
  const total = reply?.runs.reduce((sum, run) => sum + run.bytes, 0) ?? 0;
  return (
    <>
      <p class="lead">
        {backend.offer ? (
          "Every run of this page, kept in what this browser stores for it"
        ) : (
          <>
            Every run in <code>{about.folder}</code>, whether it was begun here or in a terminal
          </>
        )}
        {total > 0 && `: ${bytes(total)} on the disk`}.
      </p>
      <Problem error={error} />
      {reply?.runs.length === 0 && (
        <Empty title="No run yet">
          <a href={at("train")}>Start one</a>
          {!backend.offer && (
            <>
              , or run <code>lowrank train --output {about.folder}/NAME …</code> in a terminal
            </>
          )}
          .
        </Empty>
      )}
      {reply && reply.runs.length > 0 && (
        <Card title="Runs">
          <Table
            label="Table of runs"
            head={["name", "state", "base", "rows", "step", "loss", "validation", "size", "last step", "action"]}
          >
            {reply.runs.map((run) => (
              <RunRow key={run.folder} run={run} onGone={again} />
            ))}
          </Table>
        </Card>
      )}
      <StoredCard />
    </>
  );
}

function RunRow({ run, onGone }: { readonly run: Run; onGone(): void }) {
  const { backend } = useStudio();
  const remove = async () => {
    await backend.call("delete", { folder: run.folder });
    onGone();
  };
  return (
    <tr>
      <th scope="row">
        <a href={at("run", run.folder)}>{run.name}</a>
        {run.notes && <small class="note">{run.notes}</small>}
      </th>
      <td>
        <span class={`state ${run.state}`}>{STATES[run.state]}</span>
      </td>
      <td>{run.base && lastName(run.base)}</td>
      <td>{run.settings["data.train"] && lastName(run.settings["data.train"])}</td>
      <td class="number">
        {run.total_steps === null ? whole(run.step) : `${whole(run.step)}/${whole(run.total_steps)}`}
      </td>
      <td class="number">{figure(run.loss)}</td>
      <td class="number">{figure(run.eval_loss)}</td>
      <td class="number">{bytes(run.bytes)}</td>
      <td>{when(run.updated)}</td>
      <td>{!isLive(run.state) && <Delete name={run.name} size={run.bytes} onDelete={remove} />}</td>
    </tr>
  );
}

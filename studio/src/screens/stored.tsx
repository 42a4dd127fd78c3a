import { bytes, when } from "../format.js";
import { useCall, useEvery, useStudio } from "../state.js";
import { Delete } from "../ui/delete.js";
import { Card, Problem, Table } from "../ui/parts.js";

/** What is kept beside the runs, with the room that it takes, to be deleted. */
export function StoredCard() {
  const { backend } = useStudio();
  const { reply, error, again } = useCall("stored", {});
  useEvery(5000, true, again);
  if (!reply) return <Problem error={error} />;
  const { files, used_bytes, quota_bytes } = reply;
  if (files.length === 0 && used_bytes === null) return <Problem error={error} />;
  return (
    <Card title="Stored beside the runs">
      {used_bytes !== null && quota_bytes !== null && (
        <p class="hint">
          This browser stores {bytes(used_bytes)} for this page, itself among it, of at most {bytes(quota_bytes)}.
        </p>
      )}
      <Problem error={error} />
      {files.length === 0 ? (
        <p class="hint">No rows, exports or models.</p>
      ) : (
        <Table label="Table of stored files" head={["name", "what", "size", "changed", "needed by", "action"]}>
          {files.map((one) => (
            <tr key={one.path}>
              <th scope="row">{one.name}</th>
              <td>{one.kind}</td>
              <td class="number">{bytes(one.bytes)}</td>
              <td>{when(one.updated)}</td>
              <td>{one.needed_by.join(", ")}</td>
              <td>
                <Delete
                  name={one.name}
                  size={one.bytes}
                  onDelete={async () => {
                    await backend.call("discard", { path: one.path });
                    again();
                  }}
                />
              </td>
            </tr>
          ))}
        </Table>
      )}
    </Card>
  );
}

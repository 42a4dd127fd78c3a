import { useState } from "preact/hooks";
import { bytes } from "../format.js";
import { useAction } from "../state.js";
import { Problem } from "./parts.js";

/** Deletes something of a size in bytes, when it was asked twice. */
export function Delete({
  name,
  size,
  onDelete,
}: {
  readonly name: string;
  readonly size: number;
  onDelete(): Promise<void>;
}) {
  const [sure, setSure] = useState(false);
  const remove = useAction(onDelete);
  return (
    <>
      {!sure && (
        <button type="button" class="quiet" onClick={() => setSure(true)} aria-label={`Delete ${name}`}>
          Delete
        </button>
      )}
      {sure && (
        <>
          <button type="button" class="danger" disabled={remove.busy} onClick={() => void remove.run()}>
            Delete {bytes(size)}
          </button>
          <button type="button" class="quiet" onClick={() => setSure(false)}>
            Keep
          </button>
        </>
      )}
      <Problem error={remove.error} />
    </>
  );
}

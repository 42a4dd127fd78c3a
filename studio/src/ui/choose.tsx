import { useState } from "preact/hooks";
import { Field, TextInput } from "./parts.js";

/** Files of the visitor's disk, chosen; `accept` lists their endings, `folder` has a whole folder be chosen. */
export function ChooseFiles({
  label,
  accept,
  folder = false,
  onChoose,
}: {
  readonly label: string;
  readonly accept?: string;
  readonly folder?: boolean;
  onChoose(files: FileList | null): void;
}) {
  return (
    <Field label={label}>
      {(id) => (
        <input
          id={id}
          type="file"
          {...(accept === undefined ? {} : { accept })}
          {...(folder ? FOLDER : {})}
          onChange={(event) => onChoose(event.currentTarget.files)}
        />
      )}
    </Field>
  );
}

/** Lets a whole folder be chosen; the types of markup do not know it. */
const FOLDER = { webkitdirectory: true };

/** One file, chosen. */
export function ChooseFile({
  label,
  accept,
  onChoose,
}: {
  readonly label: string;
  readonly accept: string;
  onChoose(file: File): void;
}) {
  return <ChooseFiles label={label} accept={accept} onChoose={(files) => files?.[0] && onChoose(files[0])} />;
}

/** A path, and the button that uses it. */
export function PathForm({
  label,
  hint,
  onDone,
}: {
  readonly label: string;
  readonly hint: string;
  onDone(path: string): void;
}) {
  const [path, setPath] = useState("");
  return (
    <form
      class="inline"
      onSubmit={(event) => {
        event.preventDefault();
        onDone(path.trim());
      }}
    >
      <Field label={label} hint={hint}>
        {(id) => <TextInput id={id} value={path} onValue={setPath} />}
      </Field>
      <button type="submit" disabled={path.trim() === ""}>
        Use
      </button>
    </form>
  );
}

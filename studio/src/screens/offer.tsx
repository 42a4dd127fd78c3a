import type { NamedFile } from "../../../src/studio/backend.js";
import { useAction, useStudio } from "../state.js";
import { chosenFiles, DropArea, filesIn } from "../ui/drop.js";
import { Field, Problem } from "../ui/parts.js";

/** Lets a whole folder be chosen; the types of markup do not know it. */
const FOLDER = { webkitdirectory: true };

/** A model's files, dropped or chosen, where there is no disk that knows them by their paths. */
export function Offer({ onDone }: { onDone(base: string): void }) {
  const { backend } = useStudio();
  const take = useAction(async (files: Promise<readonly NamedFile[]> | readonly NamedFile[]) =>
    onDone((await backend.offer!(await files)).base),
  );
  return (
    <>
      <DropArea
        legend="A model's files"
        words="Drop a GGUF file here, or a folder with config.json and safetensors"
        onDrop={(dropped) => void take.run(filesIn(dropped))}
      >
        <Field label="or choose a GGUF file">
          {(id) => (
            <input
              id={id}
              type="file"
              accept=".gguf"
              onChange={(event) => void take.run(chosenFiles(event.currentTarget.files))}
            />
          )}
        </Field>
        <Field label="or a folder">
          {(id) => (
            <input
              id={id}
              type="file"
              {...FOLDER}
              onChange={(event) => void take.run(chosenFiles(event.currentTarget.files))}
            />
          )}
        </Field>
      </DropArea>
      <p class="hint">It is read where it lies for as long as this page is open, and is sent nowhere.</p>
      <Problem error={take.error} />
    </>
  );
}

import type { NamedFile } from "../../../src/studio/backend.js";
import { useAction, useStudio } from "../state.js";
import { ChooseFiles } from "../ui/choose.js";
import { chosenFiles, DropArea, filesIn } from "../ui/drop.js";
import { Problem } from "../ui/parts.js";

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
        <ChooseFiles
          label="or choose a GGUF file"
          accept=".gguf"
          onChoose={(files) => void take.run(chosenFiles(files))}
        />
        <ChooseFiles label="or a folder" folder onChoose={(files) => void take.run(chosenFiles(files))} />
      </DropArea>
      <p class="hint">It is read where it lies for as long as this page is open, and is sent nowhere.</p>
      <Problem error={take.error} />
    </>
  );
}

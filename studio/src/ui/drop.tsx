import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { NamedFile } from "../../../src/studio/backend.js";

/** A place to drop files on; `children` are other ways to choose them. */
export function DropArea({
  legend,
  words,
  onDrop,
  children,
}: {
  readonly legend: string;
  readonly words: string;
  onDrop(dropped: DataTransfer): void;
  readonly children: ComponentChildren;
}) {
  const [over, setOver] = useState(false);
  return (
    <fieldset
      class={over ? "drop over" : "drop"}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        if (event.dataTransfer) onDrop(event.dataTransfer);
      }}
    >
      <legend class="unseen">{legend}</legend>
      <p>{words}</p>
      {children}
    </fieldset>
  );
}

/** Files that were chosen; those of a folder have its name before theirs. */
export const chosenFiles = (files: FileList | null): NamedFile[] =>
  [...(files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));

/** Files that were dropped, and those of folders. To be called while the drop is handled: later nothing is left of it. */
export async function filesIn({ items }: DataTransfer): Promise<NamedFile[]> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry: FileSystemEntry): Promise<NamedFile[]> {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ path, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const inside: FileSystemEntry[] = [];
  for (;;) {
    // A folder's entries come in parts, the last of which is empty.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) break;
    inside.push(...some);
  }
  return (await Promise.all(inside.map(filesOf))).flat();
}

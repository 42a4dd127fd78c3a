import { useEffect, useState } from "preact/hooks";
import { bytes, lastName } from "../format.js";
import { useAction, useStudio } from "../state.js";
import { Problem } from "../ui/parts.js";

interface Link {
  readonly name: string;
  readonly size: number;
  readonly url: string;
}

/** Files that the page alone has, as links that save them on the disk. */
export function Save({ path, label }: { readonly path: string; readonly label: string }) {
  const { backend } = useStudio();
  const [links, setLinks] = useState<readonly Link[]>([]);
  useEffect(() => () => links.forEach(({ url }) => void URL.revokeObjectURL(url)), [links]);
  const get = useAction(async () => {
    const found = await backend.files!(path);
    setLinks(
      found.map(({ path: name, file }) => ({ name: lastName(name), size: file.size, url: URL.createObjectURL(file) })),
    );
  });
  return (
    <>
      {links.length === 0 && (
        <button type="button" disabled={get.busy} onClick={() => void get.run()}>
          {label}
        </button>
      )}
      {links.length > 0 && (
        <ul class="kinds">
          {links.map(({ name, size, url }) => (
            <li key={name}>
              <a href={url} download={name}>
                {name}
              </a>{" "}
              <span class="number">{bytes(size)}</span>
            </li>
          ))}
        </ul>
      )}
      <Problem error={get.error} />
    </>
  );
}

import type { ReplyOf } from "../../../src/studio/backend.js";
import { useStudio } from "../state.js";
import { Choice, Field, Table } from "../ui/parts.js";

/** Which column is which field of a row, chosen by hand. */
export function Columns({ about }: { readonly about: ReplyOf<"columns"> }) {
  const { settings, choose } = useStudio();
  const name = settings["data.format"] ?? about.format ?? "prompt_completion";
  const format = about.formats.find((one) => one.name === name) ?? about.formats[0]!;
  const map = readMap(settings["data.columns"]);
  const names = about.columns.map((column) => column.name);
  const columnOf = (field: string) => map[field] ?? (names.includes(field) ? field : "");
  const set = (chosen: string, fields: Readonly<Record<string, string>>) => {
    const wanted = about.formats.find((one) => one.name === chosen)!;
    const known = [...wanted.needs, ...wanted.takes];
    const others = Object.entries(fields).filter(
      ([field, column]) => known.includes(field) && column && column !== field,
    );
    choose({
      "data.format": chosen,
      "data.columns": others.length > 0 ? JSON.stringify(Object.fromEntries(others)) : undefined,
      "objective.name": undefined,
    });
  };
  return (
    <div class="columns">
      <Table label="The first rows" head={names}>
        {Array.from({ length: Math.min(3, about.columns[0]?.values.length ?? 0) }, (_, i) => (
          <tr key={i}>
            {about.columns.map((column) => (
              <td key={column.name} class="cell">
                {column.values[i]}
              </td>
            ))}
          </tr>
        ))}
      </Table>
      <div class="row">
        <Field label="Format" hint={format.shape}>
          {(id) => (
            <Choice
              id={id}
              value={name}
              options={about.formats.map((one) => [one.name, one.name] as const)}
              onValue={(chosen) => set(chosen, map)}
            />
          )}
        </Field>
        {[...format.needs, ...format.takes].map((field) => (
          <Field key={field} label={`${field}${format.needs.includes(field) ? "" : " (may be left out)"}`}>
            {(id) => (
              <Choice
                id={id}
                value={columnOf(field)}
                options={[["", "–"] as const, ...names.map((column) => [column, column] as const)]}
                onValue={(column) => set(name, { ...map, [field]: column })}
              />
            )}
          </Field>
        ))}
      </div>
    </div>
  );
}

/** The columns by fields, as `data.columns` has them. */
export function readMap(text: string | undefined): Record<string, string> {
  try {
    return JSON.parse(text ?? "{}") as Record<string, string>;
  } catch {
    return {};
  }
}

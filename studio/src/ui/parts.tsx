import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";

/** A part of a screen with a heading. */
export function Card({
  title,
  children,
  aside,
}: {
  readonly title: string;
  readonly children: ComponentChildren;
  readonly aside?: ComponentChildren;
}) {
  const id = useId();
  return (
    <section class="card" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}

/** What went wrong, where it did. */
export function Problem({ error }: { readonly error: string | undefined }) {
  if (error === undefined) return null;
  return (
    <p class="problem" role="alert">
      {error}
    </p>
  );
}

/** Nothing is here yet: what to do next. */
export function Empty({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      <p>{children}</p>
    </div>
  );
}

/** A labelled control; `children` gets the id that the label is for. */
export function Field({
  label,
  hint,
  error,
  children,
}: {
  readonly label: string;
  readonly hint?: string | undefined;
  readonly error?: string | undefined;
  readonly children: (id: string) => ComponentChildren;
}) {
  const id = useId();
  return (
    <div class={error === undefined ? "field" : "field wrong"}>
      <label for={id}>{label}</label>
      {children(id)}
      {error !== undefined && <p class="problem">{error}</p>}
      {hint !== undefined && <p class="hint">{hint}</p>}
    </div>
  );
}

export function TextInput({
  id,
  value,
  placeholder,
  onValue,
}: {
  readonly id?: string;
  readonly value: string;
  readonly placeholder?: string | undefined;
  onValue(value: string): void;
}) {
  return (
    <input
      id={id}
      type="text"
      value={value}
      placeholder={placeholder}
      spellcheck={false}
      autocomplete="off"
      onInput={(event) => onValue(event.currentTarget.value)}
    />
  );
}

export function Choice({
  id,
  value,
  options,
  onValue,
}: {
  readonly id: string;
  readonly value: string;
  readonly options: readonly (readonly [value: string, label: string])[];
  onValue(value: string): void;
}) {
  return (
    <select id={id} value={value} onChange={(event) => onValue(event.currentTarget.value)}>
      {options.map(([key, label]) => (
        <option key={key} value={key}>
          {label}
        </option>
      ))}
    </select>
  );
}

/** How much of something is done, 0 to 1; undefined: it goes on. */
export function Progress({ label, share }: { readonly label: string; readonly share: number | undefined }) {
  return (
    <div class="progress">
      <span>{label}</span>
      <progress aria-label={label} {...(share === undefined ? {} : { value: share })} max={1} />
    </div>
  );
}

/** A text that can be copied. */
export function Copyable({ label, text }: { readonly label: string; readonly text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <figure class="copyable">
      <figcaption>
        {label}
        <button type="button" class="quiet" onClick={copy} aria-label={`Copy: ${label}`}>
          {copied ? "Copied" : "Copy"}
        </button>
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is to be scrolled with keys too */}
      <pre tabIndex={0}>{text}</pre>
    </figure>
  );
}

/** A number with its name. */
export function Stat({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div class="stat">
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

export function Stats({ children }: { readonly children: ComponentChildren }) {
  return <dl class="stats">{children}</dl>;
}

/** A table that scrolls by itself where it is wider than the page. */
export function Table({
  label,
  head,
  children,
}: {
  readonly label: string;
  readonly head: readonly string[];
  readonly children: ComponentChildren;
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is to be scrolled with keys too
    <section class="table" tabIndex={0} aria-label={label}>
      <table>
        <thead>
          <tr>
            {head.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </section>
  );
}

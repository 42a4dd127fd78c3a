import { useEffect, useState } from "preact/hooks";
import type { ReplyOf, StudioBackend } from "../../src/studio/backend.js";
import { lastName } from "./format.js";
import { CompareScreen } from "./screens/compare.js";
import { DataScreen } from "./screens/data.js";
import { ModelScreen } from "./screens/model.js";
import { RunScreen } from "./screens/run.js";
import { RunsScreen } from "./screens/runs.js";
import { TrainScreen } from "./screens/train.js";
import { at, type Settings, StudioContext, usePlace, useSettings } from "./state.js";
import { Problem } from "./ui/parts.js";

/** The screens, in the order of the work. `said`: what is chosen there already. */
const SCREENS: readonly { name: string; title: string; said(settings: Settings): string | undefined }[] = [
  { name: "model", title: "Model", said: ({ base }) => base && lastName(base) },
  { name: "data", title: "Data", said: ({ "data.train": rows }) => rows && lastName(rows) },
  { name: "train", title: "Train", said: () => undefined },
  { name: "runs", title: "Runs", said: () => undefined },
  { name: "compare", title: "Compare", said: () => undefined },
];

export function App({ backend }: { readonly backend: StudioBackend | undefined }) {
  const [about, setAbout] = useState<ReplyOf<"about">>();
  const [error, setError] = useState<string>();
  const [settings, choose] = useSettings();
  const [screen = "model", ...more] = usePlace();
  useEffect(() => {
    backend?.call("about", {}).then(setAbout, (failure: Error) => setError(failure.message));
  }, [backend]);
  const title = SCREENS.find(({ name }) => name === (screen === "run" ? "runs" : screen))?.title ?? "Model";
  useEffect(() => {
    document.title = `${title} · lowrank studio`;
  }, [title]);
  if (!backend) return <Locked />;
  return (
    <div class="frame">
      <nav aria-label="Screens">
        <p class="brand">
          lowrank <span>studio</span>
        </p>
        <ul>
          {SCREENS.map(({ name, title: words, said }) => (
            <li key={name}>
              <a href={at(name)} aria-current={words === title ? "page" : undefined}>
                {words}
                <small>{said(settings) ?? ""}</small>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <main>
        <h1>{title}</h1>
        <Problem error={error} />
        {about?.notes.map((line) => (
          <p key={line} class="remark">
            {line}
          </p>
        ))}
        {about && (
          <StudioContext.Provider value={{ backend, about, settings, choose }}>
            <Screen name={screen} more={more} />
          </StudioContext.Provider>
        )}
      </main>
    </div>
  );
}

function Screen({ name, more }: { readonly name: string; readonly more: readonly string[] }) {
  if (name === "data") return <DataScreen />;
  if (name === "train") return <TrainScreen />;
  if (name === "runs") return <RunsScreen />;
  if (name === "run" && more[0]) return <RunScreen key={more[0]} folder={more[0]} />;
  if (name === "compare") return <CompareScreen chosen={more} />;
  return <ModelScreen />;
}

function Locked() {
  return (
    <main class="locked">
      <h1>lowrank studio</h1>
      <p>
        This browser is not let in yet. Open the address that <code>lowrank studio</code> printed in its terminal: the
        token in it is good once, and another one is printed when it was used.
      </p>
    </main>
  );
}

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { render } from "preact";
import type { StudioBackend } from "../../src/studio/backend.js";
import { App } from "./app.js";

/** Shows the page over a backend; over none, how to get one. */
export function mount(backend: StudioBackend | undefined): void {
  render(<App backend={backend} />, document.getElementById("app")!);
}

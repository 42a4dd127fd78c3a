import { about } from "./about.js";
import { columns } from "./columns.js";
import { config } from "./config.js";
import { download } from "./download.js";
import { exporting, targets } from "./exporting.js";
import { fits } from "./fits.js";
import { generate } from "./generate.js";
import { model } from "./model.js";
import { models } from "./models.js";
import { note, remove } from "./note.js";
import { plan } from "./plan.js";
import { rows } from "./rows.js";
import { run } from "./run.js";
import { runs } from "./runs.js";
import { serve, servers, unserve } from "./serve.js";
import { resume, start, stop } from "./start.js";
import { discard, stored } from "./stored.js";
import { suite } from "./suite.js";

/** What the page may ask, answered at once. Over HTTP each is `POST /v1/lowrank/NAME`; docs/studio.md has this table. */
export const CALLS = {
  about,
  models,
  model,
  columns,
  rows,
  config,
  fits,
  plan,
  start,
  resume,
  stop,
  runs,
  run,
  note,
  delete: remove,
  stored,
  discard,
  targets,
  export: exporting,
  serve,
  servers,
  unserve,
} as const;

/** What is answered event by event. */
export const STREAMS = { download, generate, suite } as const;

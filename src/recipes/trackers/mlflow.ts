import { UserError } from "../../tensor/index.js";
import type { Metrics } from "../../training/metrics.js";
import { addressIn, ask, basic, type Service } from "./ask.js";
import { figuresOf } from "./rows.js";
import type { Tracker, Variable } from "./tracker.js";

const API = "/api/2.0/mlflow";
/** Metrics and params of one call at most, and characters of a param: bounds of its REST API (`runs/log-batch`). */
const [MOST_METRICS, MOST_PARAMS, LONGEST_PARAM] = [1000, 100, 6000];
const STATUS = { finished: "FINISHED", failed: "FAILED", interrupted: "KILLED" } as const;

/** MLflow by its REST API: an experiment, and in it a run with the config as params. */
export const mlflow: Tracker = {
  title: "MLflow",
  variables: [
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
  ],
  async begin({ name, config, startedAt }, variable) {
    const service = serviceOf(variable);
    const experiment = await experimentOf(service, variable("MLFLOW_EXPERIMENT_NAME") ?? "lowrank");
    const request = { experiment_id: experiment, run_name: name, start_time: startedAt };
    const made = await ask<{ run: { info: { run_id: string } } }>(service, `${API}/runs/create`, request);
    const run_id = made?.run?.info?.run_id;
    if (!run_id) throw new UserError(`MLflow: ${service.url} did not begin a run`);
    const params = Object.entries(config).map(([key, value]) => ({ key, value: text(value).slice(0, LONGEST_PARAM) }));
    const log = (more: object) => ask(service, `${API}/runs/log-batch`, { run_id, ...more });
    for (let at = 0; at < params.length; at += MOST_PARAMS) await log({ params: params.slice(at, at + MOST_PARAMS) });
    return {
      address: `${service.url}/#/experiments/${experiment}/runs/${run_id}`,
      async log(rows) {
        const metrics = rows.flatMap((row) => metricsOf(row, startedAt));
        for (let at = 0; at < metrics.length; at += MOST_METRICS)
          await log({ metrics: metrics.slice(at, at + MOST_METRICS) });
      },
      async end(outcome, at) {
        await ask(service, `${API}/runs/update`, { run_id, status: STATUS[outcome], end_time: at });
      },
    };
  },
};

function serviceOf(variable: Variable): Service {
  const uri = variable("MLFLOW_TRACKING_URI");
  if (!uri) throw new UserError("report_to mlflow: set MLFLOW_TRACKING_URI to the server's address");
  const url = addressIn("MLFLOW_TRACKING_URI", uri).replace(/\/+$/, "");
  const token = variable("MLFLOW_TRACKING_TOKEN");
  const user = variable("MLFLOW_TRACKING_USERNAME");
  const password = variable("MLFLOW_TRACKING_PASSWORD") ?? "";
  const authorization = token ? `Bearer ${token}` : user ? basic(user, password) : undefined;
  return { name: "MLflow", url, headers: authorization ? { authorization } : {} };
}

async function experimentOf(service: Service, name: string): Promise<string> {
  const query = `experiment_name=${encodeURIComponent(name)}`;
  const path = `${API}/experiments/get-by-name?${query}`;
  const found = await ask<{ experiment: { experiment_id: string } }>(service, path);
  if (found) return found.experiment.experiment_id;
  const made = await ask<{ experiment_id: string }>(service, `${API}/experiments/create`, { name });
  if (made?.experiment_id) return made.experiment_id;
  throw new UserError(`MLflow: ${service.url} has no API of MLflow (${API})`);
}

function metricsOf(row: Metrics, startedAt: number): object[] {
  const timestamp = Math.round(startedAt + row.elapsedSeconds * 1000);
  return Object.entries(figuresOf(row)).map(([key, value]) => ({ key, value, timestamp, step: row.step }));
}

const text = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));

import { UserError } from "../../tensor/index.js";
import { addressIn, ask, basic, type Service } from "./ask.js";
import { figuresOf } from "./rows.js";
import type { Tracker } from "./tracker.js";

/** Where a run is put; OpenAI's `integrations` of a job have the same fields. */
export interface WandbPlace {
  readonly project?: string | undefined;
  readonly entity?: string | undefined;
  readonly name?: string | undefined;
  readonly tags?: readonly string[] | undefined;
}

const CREATE = `mutation UpsertBucket($name: String!, $project: String, $entity: String, $displayName: String, $config: JSONString, $tags: [String!]) {
  upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, displayName: $displayName, config: $config, tags: $tags}) {
    bucket { name project { name entity { name } } }
  }
}`;

interface Created {
  readonly data?: {
    readonly upsertBucket?: { bucket: { name: string; project: { name: string; entity: { name: string } } } } | null;
  };
  readonly errors?: readonly { readonly message: string }[];
}

/** Weights & Biases by what its own client sends: a GraphQL mutation for the run, and its file stream for the history. */
export const wandb: Tracker = wandbAt({});

/** The same with a place of its own before that of the environment. */
export function wandbAt({ project, entity, name, tags }: WandbPlace): Tracker {
  return {
    title: "Weights & Biases",
    variables: ["WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_ENTITY"],
    async begin(run, variable) {
      const key = variable("WANDB_API_KEY");
      if (!key) throw new UserError("report_to wandb: set WANDB_API_KEY to a key of your account");
      const url = addressIn("WANDB_BASE_URL", variable("WANDB_BASE_URL") ?? "https://api.wandb.ai").replace(/\/+$/, "");
      const service: Service = { name: "Weights & Biases", url, headers: { authorization: basic("api", key) } };
      const config = Object.fromEntries(Object.entries(run.config).map(([key, value]) => [key, { value }]));
      const variables = {
        name: runId(),
        project: project ?? variable("WANDB_PROJECT") ?? "lowrank",
        entity: entity ?? variable("WANDB_ENTITY") ?? null,
        displayName: name ?? run.name,
        config: JSON.stringify(config),
        tags: tags ?? [],
      };
      const made = await ask<Created>(service, "/graphql", { query: CREATE, variables });
      const bucket = made?.data?.upsertBucket?.bucket;
      if (!bucket) {
        const why = made?.errors?.[0]?.message ?? "it did not begin a run";
        throw new UserError(`Weights & Biases (${url}): ${why.slice(0, 200)}`);
      }
      const path = [bucket.project.entity.name, bucket.project.name, bucket.name].map(encodeURIComponent).join("/");
      const stream = async (body: object) => {
        const reply = await ask(service, `/files/${path}/file_stream`, body);
        if (reply === undefined) throw new UserError(`Weights & Biases (${url}): it does not know the run`);
      };
      let offset = 0;
      return {
        address: `${url.replace("://api.", "://")}/${path.replace(/\/([^/]+)$/, "/runs/$1")}`,
        async log(rows) {
          const content = rows.map((row) => {
            const at = run.startedAt / 1000 + row.elapsedSeconds;
            return JSON.stringify({ ...figuresOf(row), "train/global_step": row.step, _timestamp: at });
          });
          const lines = content.map((line, i) => line.replace(/}$/, `,"_step":${offset + i}}`));
          await stream({ files: { "wandb-history.jsonl": { offset, content: lines } } });
          offset += lines.length;
        },
        end: (outcome) => stream({ complete: true, exitcode: outcome === "finished" ? 0 : 1 }),
      };
    },
  };
}

/** A name that no other run has: it is of no consequence for what a run computes. */
const runId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => (byte % 36).toString(36)).join("");

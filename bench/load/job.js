// A fine-tuning job over HTTP that goes on for as long as it is wanted.
import { setTimeout as sleep } from "node:timers/promises";

const TOWNS = ["Oslo", "Rome", "Cairo", "Lima", "Perth", "Quito", "Turin", "Bonn"];
const ROWS = 1024; // 50 times: 12,800 steps

/** Starts a job on the base and waits for its first step. */
export async function startJob(url) {
  const rows = Array.from({ length: ROWS }, (_, i) => {
    const town = TOWNS[i % TOWNS.length];
    const answer = `Parcel ${i} is in ${town}, and comes on the ${(i % 28) + 1}th.`;
    return { messages: [turn("user", `Where is parcel ${i}?`), turn("assistant", answer)] };
  });
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new Blob([rows.map((row) => JSON.stringify(row)).join("\n")]), "rows.jsonl");
  const file = await reply(await fetch(`${url}/v1/files`, { method: "POST", body: form }));
  const body = { model: "base", training_file: file.id, hyperparameters: { n_epochs: 50, batch_size: 4 } };
  const headers = { "content-type": "application/json" };
  const jobs = `${url}/v1/fine_tuning/jobs`;
  const { id } = await reply(await fetch(jobs, { method: "POST", headers, body: JSON.stringify(body) }));
  const step = async () => {
    const { data } = await reply(await fetch(`${jobs}/${id}/events?limit=5`));
    const { status, error } = await reply(await fetch(`${jobs}/${id}`));
    if (status === "failed" || status === "succeeded") throw new Error(`the job ${status}: ${error?.message}`);
    return data.find((event) => event.type === "metrics")?.data.step ?? 0;
  };
  while ((await step()) === 0) await sleep(50);
  return {
    /** Steps a second over the next seconds, or for as long as one step takes. */
    async rate(seconds) {
      const [first, began] = [await step(), performance.now()];
      await sleep(seconds * 1000);
      let last = await step();
      for (; last === first; last = await step()) await sleep(100);
      return (last - first) / ((performance.now() - began) / 1000);
    },
    /** Ends it and takes away the models that its checkpoints are. */
    async cancel() {
      await reply(await fetch(`${jobs}/${id}/cancel`, { method: "POST" }));
      while (/running_jobs 1$/m.test(await (await fetch(`${url}/metrics`)).text())) await sleep(50);
      const { data } = await reply(await fetch(`${jobs}/${id}/checkpoints`));
      for (const { fine_tuned_model_checkpoint: name } of data)
        await reply(await fetch(`${url}/v1/models/${name}`, { method: "DELETE" }));
    },
  };
}

const turn = (role, content) => ({ role, content });

async function reply(response) {
  const value = await response.json();
  if (!response.ok) throw new Error(value.error.message);
  return value;
}

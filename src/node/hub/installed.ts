import { readdirSync } from "node:fs";
import { join } from "node:path";
import { findSnapshot, missingFrom } from "./cache.js";
import { MAIN } from "./name.js";
import { earlierModels, hubCache, ownModels } from "./settings.js";

/** The models that were downloaded whole, by the names that configs call them, and where each was found. */
export function installedModels(): { readonly name: string; readonly from: string }[] {
  const cache = hubCache();
  const cached = namesIn(cache).flatMap((folder) => {
    const [, owner, name] = /^models--(.+?)--(.+)$/.exec(folder) ?? [];
    const snapshot = owner && findSnapshot(cache, { repository: `${owner}/${name}`, revision: MAIN });
    return snapshot && !missingFrom(snapshot) ? [{ name: `${owner}/${name}`, from: "Hugging Face cache" }] : [];
  });
  const plain = [...[ownModels() ?? []].flat(), ...earlierModels()].flatMap((models) =>
    namesIn(models).flatMap((owner) =>
      namesIn(join(models, owner))
        .filter((name) => !missingFrom(join(models, owner, name)))
        .map((name) => ({ name: `${owner}/${name}`, from: models })),
    ),
  );
  return [...new Map([...plain, ...cached].map((model) => [model.name, model])).values()];
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => !entry.isFile() && !entry.name.startsWith("."))
      .map(({ name }) => name)
      .sort();
  } catch {
    return [];
  }
}

import type { JsonObject } from "../json.js";

/** Sentences about what transformers and PEFT would do in training with this `config.json`, and lowrank does not. */
export function trainingNotes(json: JsonObject | undefined, where: string): string[] {
  const dropout = json?.attention_dropout ?? 0;
  if (dropout === 0) return [];
  return [
    `${where}: attention_dropout ${JSON.stringify(dropout)} is not applied in training (transformers would drop that share of attention weights); lora.dropout is`,
  ];
}

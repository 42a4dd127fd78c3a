import type { ReplyOf } from "../../../src/studio/backend.js";
import { useStudio } from "../state.js";
import { Choice, Field, TextInput } from "../ui/parts.js";

/** Keys that are worth a look before every run. */
export const FEW = [
  "epochs",
  "optimizer.lr",
  "lora.r",
  "lora.alpha",
  "lora.target_modules",
  "batch_size",
  "base_precision",
] as const;

type Key = ReplyOf<"about">["keys"][number];

/** One key of the config: what it means, its default, and what is wrong with what was given. */
export function KeyField({ about, problem }: { readonly about: Key; readonly problem: string | undefined }) {
  const { settings, choose } = useStudio();
  const { key, choices, fallback, description } = about;
  const usual = fallback ?? "";
  const value = settings[key];
  const set = (text: string) =>
    choose({ [key]: text === "" || (choices.length > 0 && text === usual) ? undefined : text });
  return (
    <Field label={key} hint={description} error={problem}>
      {(id) =>
        choices.length > 0 ? (
          <Choice
            id={id}
            value={value ?? usual}
            options={choices.map((word) => [word, word === usual ? `${word} (default)` : word] as const)}
            onValue={set}
          />
        ) : (
          <TextInput id={id} value={value ?? ""} placeholder={usual || about.type} onValue={set} />
        )
      }
    </Field>
  );
}

import { z } from "zod";
import { call } from "../route.js";
import { readSettings, settingsSchema } from "../settings.js";

export const config = call({
  summary: "settings as a YAML file and as a command line, and what is wrong with them, key by key",
  request: z.strictObject({ settings: settingsSchema }),
  async answer({ host }, { settings }) {
    const { problems, yaml, command } = readSettings(settings, host.home);
    return {
      yaml,
      command,
      problems: problems.map(({ key, message, nearest }) => ({
        key,
        message: nearest === undefined ? message : `${message}; did you mean ${nearest}?`,
      })),
    };
  },
});

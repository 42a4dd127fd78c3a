import { spawn } from "node:child_process";
import { interruptible } from "../node/signals.js";
import { serveStudio } from "../node/studio.js";
import { type Action, EXIT } from "./io.js";
import { aborted, portOf } from "./serve.js";

export const studio: Action = async (_args, options, io) => {
  const { signal, stop } = interruptible(() => io.err("\nlowrank: stopping; a run in progress writes a checkpoint\n"));
  let opened = false;
  try {
    const serving = await serveStudio({
      port: portOf(options),
      folder: options.output as string,
      onAddress(address) {
        if (opened) return io.err(`opened; for another browser: ${address}\n`);
        opened = true;
        io.out(`lowrank studio: ${address}\n`);
        if (options.open !== false) open(address);
      },
      onError: (error) => io.err(`lowrank: ${error instanceof Error ? error.stack : String(error)}\n`),
    });
    await aborted(signal);
    await serving.close();
    return EXIT.ok;
  } finally {
    stop();
  }
};

/** Opens an address in the user's browser where there is a display; nothing happens where that fails. */
function open(address: string): void {
  const { platform, env } = process;
  const commands: Partial<Record<NodeJS.Platform, [string, ...string[]]>> = {
    darwin: ["open", address],
    win32: ["cmd", "/c", "start", "", address],
    linux: ["xdg-open", address],
  };
  const command = commands[platform];
  if (!command || (platform === "linux" && !(env.DISPLAY || env.WAYLAND_DISPLAY))) return;
  const [program, ...args] = command;
  spawn(program, args, { detached: true, stdio: "ignore" })
    .on("error", () => undefined)
    .unref();
}

/** The address at which a `lowrank serve` that was just started listens. Fails where it ends before. */
export function listening(server) {
  return new Promise((resolve, reject) => {
    let text = "";
    server.stdout.on("data", (chunk) => {
      text += chunk;
      const found = /listening on (\S+?),/.exec(text);
      if (found) resolve(found[1]);
    });
    server.once("close", (code) => reject(new Error(`lowrank serve ended with exit code ${code}`)));
  });
}

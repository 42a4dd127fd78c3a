// The server of soak-server.js as its parent sees it: a process of its own that takes orders.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("soak-server.js", import.meta.url));

/**
 * Starts it with the options that soak-server.js has, and waits until it listens at `url`. `order` has it do something that clients
 * cannot; `end` lets it go. Throws an error when the process ends instead.
 * @param {string} base
 * @param {object} options
 */
export async function startServer(base, options) {
  const child = fork(SCRIPT, [JSON.stringify([base, options])], { execArgv: ["--expose-gc"] });
  child.setMaxListeners(0);
  const next = (is) =>
    new Promise((resolve, reject) => {
      const settle = (finish) => {
        child.off("message", listen);
        child.off("exit", fail);
        finish();
      };
      const listen = (message) => is(message) && settle(() => resolve(message));
      const fail = (code) => settle(() => reject(new Error(`the server ended (${code})`)));
      child.on("message", listen);
      child.on("exit", fail);
    });
  const { url } = await next((message) => message.url !== undefined);
  let count = 0;
  /**
   * @param {"load" | "unload" | "memory" | "resident" | "failures" | "close"} name
   * @param {...string} values
   * @returns {Promise<any>}
   */
  async function order(name, ...values) {
    if (!child.connected) throw new Error("the server ended");
    const id = count++;
    const answer = next((message) => message.id === id);
    child.send({ id, order: name, values });
    return (await answer).value;
  }
  return { url, order, end: () => child.disconnect() };
}

import { mount } from "./mount.js";
import { portBackend } from "./port-backend.js";

// The page without a server: the studio runs in a worker, and a service worker keeps the site's files for when there is no network.
const worker = new Worker(new URL("../../src/browser/studio-worker.ts", import.meta.url), {
  type: "module",
  name: "lowrank studio",
});
worker.postMessage({ site: new URL(".", document.baseURI).href });
const { backend, fail } = portBackend({
  post: (message) => worker.postMessage(message),
  onMessage: (listener) => worker.addEventListener("message", ({ data }) => listener(data)),
});
worker.addEventListener("error", ({ message }) =>
  fail(`the part of this page that trains has ended (${message || "its file cannot be loaded"}); load the page again`),
);
mount(backend);
addEventListener("load", () => void navigator.serviceWorker?.register("service-worker.js").catch(console.warn));

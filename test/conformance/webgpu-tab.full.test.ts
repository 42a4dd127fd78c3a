import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe } from "vitest";
import { type Device, type Port, PortExecutor, QueueDevice } from "../../src/runtime/index.js";
import { ARRAYS } from "../../src/tensor/index.js";
import { openChromium, openPage, ROOT, type Site, serveSite, whyNoGpu } from "../browser/chromium.js";
import { conformance } from "./suite.js";

// What a tab's GPU computes: the package's own worker in chromium, driven from here.
const reason = await whyNoGpu();
if (reason) console.log(`WebGPU conformance in a tab is skipped: ${reason}`);

declare global {
  var startEngine: () => Promise<void>;
  var askEngine: (request: string) => Promise<string>;
}

const PAGE = `<!doctype html><script type="module">
const revived = (_, value) => value?.array === undefined ? value
  : new globalThis[value.array](Uint8Array.from(atob(value.bytes), (c) => c.charCodeAt(0)).buffer);
const written = (_, value) => !ArrayBuffer.isView(value) ? value
  : { array: value.constructor.name, bytes: btoa(Array.from(new Uint8Array(value.buffer, value.byteOffset, value.byteLength), (b) => String.fromCharCode(b)).join("")) };
globalThis.startEngine = async () => {
  globalThis.worker?.terminate();
  globalThis.worker = new Worker("/dist/browser/worker.js", { type: "module" });
  const { port1, port2 } = new MessageChannel();
  worker.postMessage({ role: "engine", engine: new URL("/onnxruntime-web/", location).href, provider: "webgpu", threads: 1, files: port2 }, [port2]);
  const { data } = await new Promise((resolve) => worker.addEventListener("message", resolve, { once: true }));
  if (data.failure) throw new Error(data.failure);
};
globalThis.askEngine = (text) => new Promise((resolve) => {
  worker.onmessage = ({ data }) => resolve(JSON.stringify(data, written));
  worker.postMessage(JSON.parse(text, revived));
});
</script>`;

const written = (_: string, value: unknown): unknown => {
  if (!ArrayBuffer.isView(value)) return value;
  const { buffer, byteOffset, byteLength } = value;
  return { array: value.constructor.name, bytes: Buffer.from(buffer, byteOffset, byteLength).toString("base64") };
};

const KINDS = Object.fromEntries(Object.values(ARRAYS).map((kind) => [kind.name, kind]));

function revived(_: string, value: { array?: string; bytes: string }): unknown {
  if (value?.array === undefined) return value;
  const bytes = Uint8Array.from(Buffer.from(value.bytes, "base64"));
  return new (KINDS[value.array] ?? Uint8Array)(bytes.buffer);
}

describe.skipIf(reason)("webgpu in a tab", () => {
  let browser: Browser;
  let site: Site;
  let page: Page;
  /** One device for all tests, as a tab has it, until one fails: a device does nothing more then. */
  let device: Device | undefined;
  beforeAll(async () => {
    site = await serveSite({
      "/page": PAGE,
      "/dist/": join(ROOT, "dist"),
      "/onnxruntime-web/": join(ROOT, "node_modules/onnxruntime-web/dist"),
    });
    browser = await openChromium({ gpu: true });
    ({ page } = await openPage(browser, `${site.url}/page`));
    await page.waitForFunction(() => typeof askEngine === "function");
  });
  afterAll(async () => {
    await browser?.close();
    site?.close();
  });

  /** The worker's port by way of the page; `onError` hears that something that was asked failed. */
  function tabPort(onError: () => void): Port {
    let listen: (message: unknown) => void = () => {};
    let last: Promise<unknown> = page.evaluate(() => startEngine());
    return {
      post(message) {
        const text = JSON.stringify(message, written);
        last = last.then(async () => {
          const reply = JSON.parse(await page.evaluate((asked) => askEngine(asked), text), revived);
          if (reply.error) onError();
          listen(reply);
        });
      },
      onMessage: (listener) => {
        listen = listener;
      },
      onFailure: () => {},
      close: async () => {},
    };
  }

  async function open(): Promise<Device> {
    if (device) return device;
    const opened = new QueueDevice(new PortExecutor(tabPort(() => (device = undefined))), "webgpu");
    opened.dispose = () => opened.flush().catch(() => {}); // what failed was told to the test that asked
    device = opened;
    return opened;
  }

  // The engine has no cast to 64 bits on a GPU; that to 16 is left out as it is for WebGPU in Node
  conformance("webgpu", { open, without: ["to f16 and back", "to f64 and back"] });
});

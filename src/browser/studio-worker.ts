import "./no-eval.js";
import { answerPort } from "../studio/port.js";
import { openTabStudio } from "./studio.js";

// The studio of a page that has no server: the page's first message says where the site is, all others are what it asks for.
addEventListener("message", ({ data }: MessageEvent<{ readonly site: string }>) => begin(data), { once: true });

function begin({ site }: { readonly site: string }): void {
  const onError = (error: unknown) => console.error(error);
  const port = {
    post: (message: unknown) => postMessage(message),
    onMessage: (listener: (message: unknown) => void) => addEventListener("message", ({ data }) => listener(data)),
  };
  answerPort(port, openTabStudio(site, onError), onError);
}

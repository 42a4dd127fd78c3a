import { type Api, createApi } from "../api/index.js";
import { nodePlatform } from "./platform.js";

export * from "../api/index.js";
export const {
  loraFinetune,
  sweep,
  plan,
  loadModel,
  merge,
  exportAdapter,
  importAdapter,
  combine,
  extract,
  augment,
  inspect,
}: Api = createApi(nodePlatform());

export { type OpenAIChatOptions, openAIChat } from "./chat-url.js";
export { type HttpServer, type HttpServerOptions, serveHttp } from "./http-server.js";
export { type DownloadOptions, type DownloadProgress, downloadModel } from "./hub/download.js";
export { type MpiWorld, openMpi } from "./mpi/world.js";
export { nodePlatform } from "./platform.js";
export { type ServeOptions, type Serving, serve } from "./serve.js";

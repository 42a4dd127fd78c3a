import { PROVIDERS, type Provider } from "../onnx/providers.js";

/** What `device` may be: a provider, or the one that fits. */
export const DEVICE_NAMES = ["auto", ...(Object.keys(PROVIDERS) as Provider[])] as const;

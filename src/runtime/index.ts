export * from "./commands.js";
export * from "./device.js";
export * from "./ort-executor.js";
export * from "./port-executor.js";
export * from "./queue-device.js";

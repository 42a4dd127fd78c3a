export * from "./command-executor.js";
export * from "./commands.js";
export * from "./device.js";
export * from "./engine.js";
export { hostMemory, type Memory, type Range } from "./memory.js";
export * from "./ort-engine.js";
export * from "./port-executor.js";
export * from "./queue-device.js";
export * from "./yielding-device.js";

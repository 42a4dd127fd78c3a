import process from "node:process";

/**
 * ONNX Runtime from 1.29 on gathers what it reports to its makers when its environment is made, the whole command line among it: a
 * regular expression over that overflows the stack where the line is long (9,000 characters), which ends the process without a
 * word. Nothing of ours is theirs to report in any case. Import this in the main thread, before the engine is loaded: only there
 * is the variable set for native code.
 */
process.env.ORT_DISABLE_TELEMETRY = "1";

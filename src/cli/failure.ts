import { type ErrorCode, UserError } from "../tensor/errors.js";
import { EXIT, type Io } from "./io.js";

/** How the mistakes end that do not end with 1. */
const CODES: Partial<Record<ErrorCode, number>> = {
  invalid_usage: EXIT.usage,
  interrupted: EXIT.interrupted,
  rank_lost: EXIT.again,
};

/** Says what went wrong, and gives the exit code that tells it. */
export function report(error: unknown, io: Io): number {
  if (process.env.LOWRANK_DEBUG) io.err(`${error instanceof Error ? error.stack : String(error)}\n`);
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof UserError || isOutOfMemory(message)) {
    io.err(`lowrank: ${message}\n`);
    return error instanceof UserError ? (CODES[error.code] ?? EXIT.failed) : EXIT.again;
  }
  io.err(`lowrank: ${message}\n(this is a bug in lowrank; LOWRANK_DEBUG=1 prints where it happened)\n`);
  return EXIT.internal;
}

/** What V8, C++ and ONNX Runtime say where memory was refused: another start may find enough. */
const isOutOfMemory = (message: string): boolean =>
  /allocation failed|bad_alloc|failed to allocate memory/i.test(message);
